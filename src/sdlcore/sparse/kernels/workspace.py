"""Keep for the next step what it can use again: large buffers, and where searches may begin.

A training step needs the same few arrays of tens of megabytes each time. Given back to the system and taken anew they
cost a page fault for every 4 KiB, which takes longer than the arithmetic on them. torch's allocator for CUDA keeps
memory by itself.
"""

from collections.abc import Hashable

import torch
from torch import Tensor

from sdlcore.memory import in_large_pages


class Workspace:
    """Spare buffers on a CPU, by shape and type, and where searches may begin.

    They live as long as it does: as a training step, or one search.

    Attributes
    ----------
    begin
        Bounds that searches for the largest entries of rows begin at, as a share of the rows' norms, by kind of search.
    """

    def __init__(self) -> None:
        self.begin: dict[Hashable, float] = {}
        self._spare: dict[tuple[tuple[int, ...], torch.dtype], list[Tensor]] = {}

    def take(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Return an uninitialised tensor, a spare one where there is one."""
        spare = self._spare.get((shape, dtype))
        return spare.pop() if spare else in_large_pages(torch.empty(shape, dtype=dtype), written=False)

    def give(self, tensor: Tensor) -> None:
        """Keep ``tensor``, which nobody may use any more, for the next `take` of its shape."""
        if tensor.is_contiguous():
            self._spare.setdefault((tuple(tensor.shape), tensor.dtype), []).append(tensor.detach())
