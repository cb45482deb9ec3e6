"""Keep large buffers, and guesses for searches, from one step to the next.

A training step needs the same few arrays of tens of megabytes each time. Returning these arrays to the system and
allocating them again costs a page fault for every 4 KiB, which takes longer than the arithmetic on them. On GPUs,
torch's allocator keeps memory itself.
"""

from collections.abc import Hashable

import torch
from torch import Tensor

from sdlcore.memory import in_large_pages


class Workspace:
    """Spare CPU buffers by shape and dtype, and starting bounds of searches.

    Buffers and bounds live as long as the workspace, which belongs to a training step or a single search.

    Attributes
    ----------
    begin
        Starting bounds of searches for a row's largest entries, as a share of the row's norm, by kind of search.
    """

    def __init__(self) -> None:
        self.begin: dict[Hashable, float] = {}
        self._spare: dict[tuple[tuple[int, ...], torch.dtype], list[Tensor]] = {}

    def take(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Return an uninitialised tensor, reusing a spare one if there is one."""
        spare = self._spare.get((shape, dtype))
        return spare.pop() if spare else in_large_pages(torch.empty(shape, dtype=dtype), written=False)

    def give(self, tensor: Tensor) -> None:
        """Keep ``tensor``, which nobody may use any more, for the next `take` of its shape."""
        if tensor.is_contiguous():
            self._spare.setdefault((tuple(tensor.shape), tensor.dtype), []).append(tensor.detach())
