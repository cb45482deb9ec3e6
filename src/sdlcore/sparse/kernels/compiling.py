"""Announce that kernels are being compiled; otherwise the first use of an installation is silent for a minute."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

ANNOUNCEMENT = "Compiling kernels for this processor, once: about a minute"
_LISTENING: list[Callable[[str], None]] = []
_SAID: list[bool] = []


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
