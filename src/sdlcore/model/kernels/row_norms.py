"""What is known of the rows of gradients, noted where they are summed, for the optimiser that clips by their norm.

autograd hands a gradient on as a tensor and nothing beside it, and to read two weight matrices' gradients again for
their norms takes as long as decoding.
"""

from typing import NamedTuple

from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef


class RowNorms(NamedTuple):
    """Products of the rows of a gradient."""

    squares: Tensor
    """With themselves."""
    products: Tensor | None
    """With the rows of the parameter that it is the gradient of; None if not known."""


class _Note(NamedTuple):
    memory: StorageWeakRef
    version: int
    norms: RowNorms


_notes: list[_Note] = []


def note(gradient: Tensor, squares: Tensor, products: Tensor | None = None) -> None:
    """Note products of the rows of ``gradient`` as it is now."""
    _notes[:] = [each for each in _notes if not each.memory.expired()]
    memory = StorageWeakRef(gradient.untyped_storage())
    _notes.append(_Note(memory, gradient._version, RowNorms(squares, products)))


def noted(gradient: Tensor) -> RowNorms | None:
    """Return what was noted of ``gradient``, unless torch has written to it since, as where gradients accumulate."""
    memory = StorageWeakRef(gradient.untyped_storage())
    for each in reversed(_notes):
        if each.memory == memory:
            return each.norms if each.version == gradient._version else None
    return None


def forget(gradient: Tensor | None = None) -> None:
    """Drop what was noted of ``gradient``, or of all: once parameters have moved, gradients are others."""
    memory = StorageWeakRef(gradient.untyped_storage()) if gradient is not None else None
    _notes[:] = [each for each in _notes if memory is not None and each.memory != memory]
