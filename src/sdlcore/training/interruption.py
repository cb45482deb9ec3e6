"""End an interrupted training between two steps, so that it can write a checkpoint of its last step."""

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from types import FrameType
from typing import Any

from sdlcore.processes import Processes

log = logging.getLogger(__name__)

_TAKEN = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
"""Signals to handle, if they still have these default handlers; an application's own handlers stay."""
TERMINATED = 128 + signal.SIGTERM
"""A shell's status for a process that SIGTERM ended."""


class Interruption:
    """Whether a training must end after its current step, and why.

    Parameters
    ----------
    stop
        An event that ends trainings in other threads; signals reach only the main thread.
    processes
        The processes that train together. A signal to any of them ends the whole training.
    """

    def __init__(self, stop: Event | None, processes: Processes) -> None:
        self._stop, self._processes = stop, processes
        self.signal: int | None = None
        """The signal received, or None."""

    def ends(self) -> bool:
        """Return whether the training must end. All processes must call this method after each step."""
        ends = self.signal is not None or (self._stop is not None and self._stop.is_set())
        return any(self._processes.counts(int(ends)))

    def error(self, message: str) -> BaseException:
        """Return the exception that ends the training: SystemExit with a shell's status for SIGTERM, else
        KeyboardInterrupt."""
        if self.signal != signal.SIGTERM:
            return KeyboardInterrupt(message)
        log.warning(message)
        return SystemExit(TERMINATED)


@contextmanager
def interruptible(take_signals: bool, stop: Event | None, processes: Processes) -> Iterator[Interruption]:
    """Yield an `Interruption`, which records requests to end the training.

    If ``take_signals``, it records SIGINT (Ctrl-C) and SIGTERM. A second signal ends the process at once, as a first
    one does outside this context.
    """
    interruption = Interruption(stop, processes)
    before: dict[signal.Signals, Any] = {}

    def note(number: int, frame: FrameType | None) -> None:
        interruption.signal = number
        _give_back(before)

    if take_signals and threading.current_thread() is threading.main_thread():
        before = {number: usual for number, usual in _TAKEN.items() if signal.getsignal(number) == usual}
        for number in before:
            signal.signal(number, note)
    try:
        yield interruption
    finally:
        _give_back(before)
    if interruption.signal is not None:  # the signal came after the last step
        signal.raise_signal(interruption.signal)


@contextmanager
def terminable() -> Iterator[None]:
    """Raise SystemExit in the main thread at SIGTERM, as Ctrl-C raises KeyboardInterrupt, so that a caller can end the
    trainings in its threads. A second SIGTERM ends the process at once."""
    before: dict[signal.Signals, Any] = {}

    def end(number: int, frame: FrameType | None) -> None:
        _give_back(before)
        raise SystemExit(TERMINATED)

    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        before[signal.SIGTERM] = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        _give_back(before)


def _give_back(handlers: dict[signal.Signals, Any]) -> None:
    while handlers:
        signal.signal(*handlers.popitem())
