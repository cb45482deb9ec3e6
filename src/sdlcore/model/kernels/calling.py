"""Call compiled loops with tensors.

The loops take a moment to import, so that they are imported where they are called.
"""

from types import ModuleType

import numpy as np
import torch
from torch import Tensor


def loops() -> ModuleType:
    """Return `sdlcore.model.kernels.cpu`, set to as many threads as torch has."""
    from sdlcore.model.kernels import cpu

    _set_threads()
    return cpu


def searches() -> ModuleType:
    """Return `sdlcore.model.kernels.cpu_select`, likewise."""
    from sdlcore.model.kernels import cpu_select

    _set_threads()
    return cpu_select


def array(tensor: Tensor) -> np.ndarray:
    """Return a tensor of the CPU as the loops take it; they write into what is contiguous."""
    return tensor.detach().contiguous().numpy()


def _set_threads() -> None:
    import numba

    numba.set_num_threads(min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
