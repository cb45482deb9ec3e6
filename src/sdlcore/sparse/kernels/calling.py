"""Call compiled loops with tensors.

Importing the loops is slow, so they are imported where they are called.
"""

from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from sdlcore.sparse.kernels.compiling import watch_compiler


def loops() -> ModuleType:
    """Return `sdlcore.sparse.kernels.cpu`, after setting numba's number of threads to torch's."""
    from sdlcore.sparse.kernels import cpu

    set_numba_threads()
    return cpu


def tiled_loops() -> ModuleType:
    """Return `sdlcore.sparse.kernels.cpu_tiles`, as `loops` does."""
    from sdlcore.sparse.kernels import cpu_tiles

    set_numba_threads()
    return cpu_tiles


def searches() -> ModuleType:
    """Return `sdlcore.sparse.kernels.cpu_select`, as `loops` does."""
    from sdlcore.sparse.kernels import cpu_select

    set_numba_threads()
    return cpu_select


def row_loops() -> ModuleType:
    """Return `sdlcore.sparse.kernels.cpu_rows`, as `loops` does."""
    from sdlcore.sparse.kernels import cpu_rows

    set_numba_threads()
    return cpu_rows


def pursuits() -> ModuleType:
    """Return `sdlcore.sparse.kernels.cpu_pursuit`, as `loops` does."""
    from sdlcore.sparse.kernels import cpu_pursuit

    set_numba_threads()
    return cpu_pursuit


def posteriors() -> ModuleType:
    """Return `sdlcore.sparse.kernels.cpu_posterior`, as `loops` does."""
    from sdlcore.sparse.kernels import cpu_posterior

    set_numba_threads()
    return cpu_posterior


def roundings() -> ModuleType:
    """Return `sdlcore.sparse.kernels.cpu_round`, as `loops` does."""
    from sdlcore.sparse.kernels import cpu_round

    set_numba_threads()
    return cpu_round


def array(tensor: Tensor) -> np.ndarray:
    """Return a CPU tensor as an array for the loops, which may write to it if the tensor is contiguous."""
    return tensor.detach().contiguous().numpy()


def set_numba_threads() -> None:
    """Give numba as many threads as torch uses, without changing torch's number of threads.

    Both libraries take their threads from OpenMP. When numba starts its threads, numba sets OpenMP's number of threads
    to all cores of the machine, whatever torch was set to.
    """
    import numba

    watch_compiler()
    threads = torch.get_num_threads()
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
