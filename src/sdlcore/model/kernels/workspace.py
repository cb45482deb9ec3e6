"""Large buffers, used again.

A training step needs the same few arrays of tens of megabytes each time. Given back to the system and taken anew they
cost a page fault for every 4 KiB, which takes longer than the arithmetic on them. torch's allocator for CUDA keeps
memory by itself.
"""

import torch
from torch import Tensor

_spare: dict[tuple[tuple[int, ...], torch.dtype], list[Tensor]] = {}


def take(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return an uninitialised tensor, a spare one where there is one."""
    spare = _spare.get((shape, dtype)) if device.type == "cpu" else None
    return spare.pop() if spare else torch.empty(shape, dtype=dtype, device=device)


def give(tensor: Tensor) -> None:
    """Keep ``tensor``, which nobody may use any more, for the next `take` of its shape."""
    if tensor.device.type == "cpu" and tensor.is_contiguous():
        _spare.setdefault((tuple(tensor.shape), tensor.dtype), []).append(tensor.detach())


def clear() -> None:
    """Let go of all spare buffers."""
    _spare.clear()
