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
    """Ask glibc to keep freed memory for the next allocation, where it is the allocator.

    It gives large blocks back at once, and the many intermediate results of some megabytes that a step or a forward
    pass has then cost page faults: a seventh of the time of a small language model's. It cannot be asked to keep those
    above 32 MiB, which `sdlcore.sparse.kernels.workspace` is for.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in ((_M_MMAP_THRESHOLD, 32 << 20), (_M_TRIM_THRESHOLD, 1 << 29)):
            mallopt(option, value)


def in_large_pages(tensor: Tensor, written: bool) -> Tensor:
    """Ask Linux to keep a tensor in pages of 2 MiB, where it has as much, and return it.

    A step reads and writes hundreds of megabytes, and rows of dictionaries at random. With pages of 4 KiB, a twentieth
    of its time goes into finding them. Where Linux has no large pages, nothing changes.

    Parameters
    ----------
    tensor
        Stays where it is, with all that it holds.
    written
        Whether it was written to. What was is moved now, which Linux can do from 6.1 on; before that it may do it in
        the course of minutes.
    """
    page = mmap.PAGESIZE
    start = -(-tensor.data_ptr() // page) * page
    size = (tensor.data_ptr() + tensor.nbytes - start) // page * page
    if sys.platform != "linux" or tensor.device.type != "cpu" or size < _LARGE_PAGE:
        return tensor
    with contextlib.suppress(OSError, AttributeError):
        madvise = ctypes.CDLL(None).madvise
        for advice in (_MADV_HUGEPAGE, _MADV_COLLAPSE) if written else (_MADV_HUGEPAGE,):
            madvise(ctypes.c_void_p(start), ctypes.c_size_t(size), advice)
    return tensor
