"""Large buffers, used again.

A training step needs the same few arrays of tens of megabytes each time. Given back to the system and taken anew they
cost a page fault for every 4 KiB, which takes longer than the arithmetic on them. torch's allocator for CUDA keeps
memory by itself.
"""

import contextlib
import ctypes

import torch
from torch import Tensor

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_spare: dict[tuple[tuple[int, ...], torch.dtype], list[Tensor]] = {}


def take(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return an uninitialised tensor, a spare one where there is one."""
    spare = _spare.get((shape, dtype)) if device.type == "cpu" else None
    return spare.pop() if spare else torch.empty(shape, dtype=dtype, device=device)


def give(tensor: Tensor) -> None:
    """Keep ``tensor``, which nobody may use any more, for the next `take` of its shape."""
    if tensor.device.type == "cpu" and tensor.is_contiguous():
        _spare.setdefault((tuple(tensor.shape), tensor.dtype), []).append(tensor.detach())


def keep_freed_memory() -> None:
    """Ask glibc to keep freed memory for the next allocation, where it is the allocator.

    It gives large blocks back at once, and a step's many intermediate results of some megabytes then cost page faults
    too. It cannot be asked to keep those above 32 MiB, which `take` and `give` are for.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in ((_M_MMAP_THRESHOLD, 32 << 20), (_M_TRIM_THRESHOLD, 1 << 29)):
            mallopt(option, value)


def clear() -> None:
    """Let go of all spare buffers."""
    _spare.clear()
