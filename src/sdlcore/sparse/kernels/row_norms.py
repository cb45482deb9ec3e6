"""Norms of the rows of gradients, summed in backward passes and read by Adam's clipping.

autograd passes on a gradient as a tensor only, without such by-products. Reading the gradients of two weight matrices
again for their norms would take as long as decoding.
"""

from typing import NamedTuple

from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef


class RowProducts(NamedTuple):
    """Inner products of the rows of a gradient."""

    squares: Tensor
    """Products of the rows with themselves: squared norms."""
    products: Tensor | None
    """Products with the rows of the gradient's parameter; None if not known."""


class RowNorms:
    """Known row norms and products of one step's gradients.

    The step passes this object to its forward passes, whose backward passes fill it, and then to the optimiser. A
    gradient is identified by its memory, because autograd wraps it in another tensor, and by torch's version counter,
    which detects later writes.
    """

    def __init__(self) -> None:
        # weak references, because autograd copies a gradient that somebody else holds
        self._products: dict[StorageWeakRef, tuple[int, RowProducts]] = {}

    def note(self, gradient: Tensor, squares: Tensor, products: Tensor | None = None) -> None:
        """Record products of the rows of ``gradient`` in its current version."""
        memory = StorageWeakRef(gradient.untyped_storage())
        self._products[memory] = gradient._version, RowProducts(squares, products)

    def of(self, gradient: Tensor) -> RowProducts | None:
        """Return the record of ``gradient``, or None if torch has written to it since, for example to accumulate."""
        version, products = self._products.get(StorageWeakRef(gradient.untyped_storage()), (None, None))
        return products if version == gradient._version else None
