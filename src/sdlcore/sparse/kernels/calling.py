"""Call compiled loops with tensors, and announce their compilation.

Importing the loops is slow, so they are imported where they are called. Numba compiles them at the first use of an
installation, which would be silent for a minute.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

ANNOUNCEMENT = "Compiling kernels for this processor, once: about a minute"
_LISTENING: list[Callable[[str], None]] = []
_SAID: list[bool] = []


def loops(name: str) -> ModuleType:
    """Return a module of compiled loops in this folder, such as ``cpu``; numba then has torch's number of threads."""
    set_numba_threads()
    return import_module(f"sdlcore.sparse.kernels.{name}")


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


@contextmanager
def announcing(say: Callable[[str], None]) -> Iterator[None]:
    """Call ``say`` with `ANNOUNCEMENT` if numba compiles a kernel in this block, at most once per process."""
    _LISTENING.append(say)
    try:
        yield
    finally:
        _LISTENING.remove(say)


@cache
def watch_compiler() -> None:
    """Register a numba listener, which is notified of functions that numba compiles but not of cached ones."""
    from numba.core import event

    class Compiling(event.Listener):
        def on_start(self, event: Any) -> None:
            _announce()

        def on_end(self, event: Any) -> None:
            pass

    event.register("numba:compile", Compiling())


def _announce() -> None:
    if _LISTENING and not _SAID:
        _SAID.append(True)
        _LISTENING[-1](ANNOUNCEMENT)
