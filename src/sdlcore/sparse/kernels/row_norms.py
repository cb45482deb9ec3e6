"""Norms of the rows of gradients, summed in backward passes and read by Adam's clipping.

autograd passes on a gradient as a tensor only, without such by-products. Reading the gradients of two weight matrices
again for their norms would take as long as decoding.
"""

from typing import NamedTuple

from torch import Tensor


class RowProducts(NamedTuple):
    """Inner products of the rows of a gradient."""

    squares: Tensor
    """Products of the rows with themselves: squared norms."""
    products: Tensor | None
    """Products with the rows of the gradient's parameter; None if not known."""


class RowNorms:
    """Known row norms and products of one step's gradients, by parameter.

    The kernels of a step have this object: backward passes fill it, and the optimiser reads it. A gradient is
    identified by its address, because autograd wraps it in another tensor, and by torch's version counter, which
    detects later writes. The parameter's sum of several gradients differs in one of the two: autograd writes it to an
    earlier gradient, or to new memory while all of them exist. A reference to a gradient, even a weak one to its
    storage, would make autograd choose new memory, which takes twice the time.
    """

    def __init__(self) -> None:
        self._products: dict[int, tuple[int, int, RowProducts]] = {}

    def clear(self) -> None:
        """Forget all records, before a step's gradients or after a change of them."""
        self._products.clear()

    def note(self, W: Tensor, gradient: Tensor, squares: Tensor | None, products: Tensor | None = None) -> None:
        """Record products of the rows of a gradient of ``W`` in its current version; nothing without ``squares``."""
        if squares is not None:
            self._products[W.data_ptr()] = gradient.data_ptr(), gradient._version, RowProducts(squares, products)

    def of(self, W: Tensor, gradient: Tensor) -> RowProducts | None:
        """Return the record of a gradient of ``W``; None if torch has written to it since, for example to accumulate,
        or if another gradient was recorded."""
        address, version, products = self._products.get(W.data_ptr(), (None, None, None))
        return products if (address, version) == (gradient.data_ptr(), gradient._version) else None
