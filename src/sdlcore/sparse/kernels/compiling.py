"""Say once that kernels are being compiled: the first use of an installation would otherwise be silent for a minute."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

ANNOUNCEMENT = "Compiling kernels for this processor, once: about a minute"
_LISTENING: list[Callable[[str], None]] = []
_SAID: list[bool] = []


@contextmanager
def announcing(say: Callable[[str], None]) -> Iterator[None]:
    """Call ``say`` with `ANNOUNCEMENT` if numba compiles a kernel in the block, at most once a process."""
    _LISTENING.append(say)
    try:
        yield
    finally:
        _LISTENING.remove(say)


@cache
def watch_compiler() -> None:
    """Register a listener with numba, which reports functions that it compiles but not those that its cache has."""
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
