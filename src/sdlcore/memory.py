"""Make glibc keep freed memory, and Linux keep large tensors in large pages."""

import contextlib
import ctypes
import mmap
import sys

from torch import Tensor

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGE_PAGE = 1 << 21
_MADV_HUGEPAGE, _MADV_COLLAPSE = 14, 25


def keep_freed_memory() -> None:
    """Make glibc keep freed memory for the next allocation; other allocators are left alone.

    By default glibc returns large blocks to the system at once. Each intermediate result of a few megabytes then costs
    page faults: a seventh of the time of a small language model's forward pass. Blocks above 32 MiB cannot be kept this
    way; `sdlcore.sparse.kernels.workspace` reuses those.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in ((_M_MMAP_THRESHOLD, 32 << 20), (_M_TRIM_THRESHOLD, 1 << 29)):
            mallopt(option, value)


def in_large_pages(tensor: Tensor, written: bool) -> Tensor:
    """Ask Linux to keep a tensor of at least 2 MiB in large pages, and return the tensor.

    A training step reads and writes hundreds of megabytes, and dictionary rows in random order. With pages of 4 KiB, a
    twentieth of the step's time goes into page lookups. Without support for large pages, nothing changes.

    Parameters
    ----------
    tensor
        The tensor; its address and content stay the same.
    written
        Whether the tensor already contains data. Linux 6.1 and later then move the data to large pages now;
        earlier versions may do so within minutes.
    """
    page = mmap.PAGESIZE
    start = -(-tensor.data_ptr() // page) * page
    size = (tensor.data_ptr() + tensor.nbytes - start) // page * page
    if sys.platform != "linux" or tensor.device.type != "cpu" or size < _LARGE_PAGE:
        return tensor
    with contextlib.suppress(OSError, AttributeError, TypeError):
        madvise = ctypes.CDLL(None).madvise
        for advice in (_MADV_HUGEPAGE, _MADV_COLLAPSE) if written else (_MADV_HUGEPAGE,):
            madvise(ctypes.c_void_p(start), ctypes.c_size_t(size), advice)
    return tensor
