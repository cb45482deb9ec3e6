"""End a training between two steps when it is interrupted, so that it can leave a checkpoint of its last step."""

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from types import FrameType
from typing import Any

log = logging.getLogger(__name__)

_TAKEN = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
"""Signals that are taken where they have these handlers: an application's own handlers stay."""


class Interruption:
    """Whether a training is to end after its step, and the cause.

    Parameters
    ----------
    stop
        An event that asks trainings in other threads to end, since signals reach the main thread alone.
    """

    def __init__(self, stop: Event | None = None) -> None:
        self._stop = stop
        self.signal: int | None = None
        """The one that came."""

    def __bool__(self) -> bool:
        return self.signal is not None or (self._stop is not None and self._stop.is_set())

    def take(self, number: int) -> None:
        """Note a signal."""
        self.signal = number

    def error(self, message: str) -> BaseException:
        """Return what ends the training: KeyboardInterrupt, or for SIGTERM SystemExit, with the status of a shell."""
        if self.signal != signal.SIGTERM:
            return KeyboardInterrupt(message)
        log.warning(message)
        return SystemExit(128 + signal.SIGTERM)


@contextmanager
def interruptible(take_signals: bool, stop: Event | None = None) -> Iterator[Interruption]:
    """Give what tells whether the training is to end.

    SIGINT (Ctrl-C) and SIGTERM are noted where signals are taken. A second one ends the process at once, as the first
    does without this.
    """
    asked = Interruption(stop)
    before: dict[signal.Signals, Any] = {}

    def note(number: int, frame: FrameType | None) -> None:
        asked.take(number)
        _give_back(before)

    if take_signals and threading.current_thread() is threading.main_thread():
        before = {number: usual for number, usual in _TAKEN.items() if signal.getsignal(number) == usual}
        for number in before:
            signal.signal(number, note)
    try:
        yield asked
    finally:
        _give_back(before)
    if asked.signal is not None:  # in the moment after the last step
        signal.raise_signal(asked.signal)


def _give_back(handlers: dict[signal.Signals, Any]) -> None:
    while handlers:
        signal.signal(*handlers.popitem())
