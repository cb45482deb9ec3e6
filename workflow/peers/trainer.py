"""The interface of other libraries' trainers, and the scaling of their schedules to short runs."""

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor

from peers.settings import PeerConfig

Note = Callable[[Tensor, Callable[[], Any]], None]
"""Called after each step with the loss and a function that returns the current dictionary."""
Train = Callable[[Iterator[Tensor], int, PeerConfig, int, Note], Any]
"""Trains on batches (B x n), with n, settings and a seed; calls `Note` after each step and returns the dictionary."""

LONGEST = 0.05
"""Largest share of a run that a default number of steps, such as a warm-up, may take."""


def pace(steps: int, default: int) -> int:
    """Return a library's default number of steps, such as a warm-up, for a run of ``steps``: at most the share
    `LONGEST` of this run.

    Warm-ups, the start of a threshold and its averaging time are made for trainings of tens of thousands of steps. In a
    short run some trainers would refuse the warm-up, and the threshold would be computed from the first steps, or not
    at all.
    """
    return max(1, min(default, round(LONGEST * steps)))
