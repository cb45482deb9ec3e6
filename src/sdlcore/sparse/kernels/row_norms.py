"""Norms of the rows of gradients, summed in backward passes and read by Adam's clipping.

autograd hands a gradient on as a tensor and nothing beside it, and to read two weight matrices' gradients again for
their norms takes as long as decoding.
"""

from typing import NamedTuple

from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef


class RowProducts(NamedTuple):
    """Products of the rows of a gradient."""

    squares: Tensor
    """With themselves."""
    products: Tensor | None
    """With the rows of the parameter that it is the gradient of; None if not known."""


class RowNorms:
    """What is known of the rows of one step's gradients.

    The step hands it to its forward passes, whose backward passes fill it, and then to the optimiser. A gradient is
    known by its memory, since autograd makes another tensor of it, and by torch's count of what was written there.
    """

    def __init__(self) -> None:
        # weak, since autograd copies a gradient that somebody else holds
        self._known: dict[StorageWeakRef, tuple[int, RowProducts]] = {}

    def note(self, gradient: Tensor, squares: Tensor, products: Tensor | None = None) -> None:
        """Note products of the rows of ``gradient`` as it is now."""
        memory = StorageWeakRef(gradient.untyped_storage())
        self._known[memory] = gradient._version, RowProducts(squares, products)

    def of(self, gradient: Tensor) -> RowProducts | None:
        """Return what was noted of ``gradient``, unless torch has written to it since, as it does to accumulate."""
        version, known = self._known.get(StorageWeakRef(gradient.untyped_storage()), (None, None))
        return known if version == gradient._version else None
