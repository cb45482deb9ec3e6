"""Call compiled loops with tensors.

The loops take a moment to import, so that they are imported where they are called.
"""

from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from sdlcore.sparse.kernels.compiling import watch_compiler


def loops() -> ModuleType:
    """Return `sdlcore.sparse.kernels.cpu`, set to as many threads as torch has."""
    from sdlcore.sparse.kernels import cpu

    set_numba_threads()
    return cpu


def tiled_loops() -> ModuleType:
    """Return `sdlcore.sparse.kernels.cpu_tiles`, likewise."""
    from sdlcore.sparse.kernels import cpu_tiles

    set_numba_threads()
    return cpu_tiles


def searches() -> ModuleType:
    """Return `sdlcore.sparse.kernels.cpu_select`, likewise."""
    from sdlcore.sparse.kernels import cpu_select

    set_numba_threads()
    return cpu_select


def row_loops() -> ModuleType:
    """Return `sdlcore.sparse.kernels.cpu_rows`, likewise."""
    from sdlcore.sparse.kernels import cpu_rows

    set_numba_threads()
    return cpu_rows


def roundings() -> ModuleType:
    """Return `sdlcore.sparse.kernels.cpu_round`, likewise."""
    from sdlcore.sparse.kernels import cpu_round

    set_numba_threads()
    return cpu_round


def array(tensor: Tensor) -> np.ndarray:
    """Return a tensor of the CPU as the loops take it; they write into what is contiguous."""
    return tensor.detach().contiguous().numpy()


def set_numba_threads() -> None:
    """Give numba as many threads as torch has, and let torch keep its number.

    Both take theirs from OpenMP. When numba starts its threads, it sets OpenMP's number to all of the machine's cores,
    whatever torch was told.
    """
    import numba

    watch_compiler()
    threads = torch.get_num_threads()
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
