"""The interface of other libraries' trainers, and how their schedules shrink to short runs."""

from collections.abc import Callable, Iterator

from torch import Tensor

from sdlcore.baselines.settings import PeerConfig
from sdlcore.model.coder import SparseCoder

Note = Callable[[Tensor, Callable[[], SparseCoder]], None]
"""Is told of each step: its loss, and what gives the dictionary as it stands."""
Train = Callable[[Iterator[Tensor], int, PeerConfig, int, Note], SparseCoder]
"""Trains by batches (B x n), n, settings and a seed, and tells of each step."""

LONGEST = 0.05
"""Share of a run that a default which is a number of steps may take."""


def pace(steps: int, default: int) -> int:
    """Return a default of a library that is a number of steps, for a run of ``steps``.

    Warm-ups, the beginning of a threshold and its memory were made for trainings of many ten thousands of steps. They
    stand as they are where they take no more than `LONGEST` of the run, and are cut to that otherwise: some trainers
    refuse a warm-up that is longer than the run, and a threshold would be that of the first steps, or none.
    """
    return max(1, min(default, round(LONGEST * steps)))
