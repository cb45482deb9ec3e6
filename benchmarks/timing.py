"""Measure milliseconds per step and memory, in turns: each library takes a few steps, then the next one.

A short disturbance of the machine then affects all libraries alike, and hardly moves the median over rounds.
"""

import logging
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from benchmarks.cases import SLOW, WITHOUT_K, Case, Group, Setting
from benchmarks.states import calibrate
from benchmarks.workers import Team, Worker, WorkerError, workers

log = logging.getLogger(__name__)

L0_TOLERANCE = 0.03
"""Largest relative difference from the wanted number of active latents."""
REPEATED = 0.15
"""The same for matching pursuit, whose k steps may choose a latent again."""

T = TypeVar("T")


class Effort(NamedTuple):
    """Amount of measurement at one batch size."""

    rounds: int
    steps: int
    """Steps of each library in each round."""
    warmup: int
    """Steps before the first round."""


EFFORTS = {1024: Effort(rounds=4, steps=2, warmup=1), 4096: Effort(rounds=2, steps=1, warmup=1)}
SLOW_EFFORT = Effort(rounds=2, steps=1, warmup=0)


class L0Error(WorkerError):
    """A library does not have the number of active latents at which it should be timed."""


def effort(group: Group, rounds: int | None = None) -> Effort:
    """Return how much of a group to measure, with another number of rounds if it is given."""
    usual = SLOW_EFFORT if group.method in SLOW else EFFORTS[group.batch]
    return usual._replace(rounds=rounds or usual.rounds)


def turns(items: Sequence[T], rounds: int) -> Iterable[list[T]]:
    """Yield the order of each round: every item once, each round with a different first item."""
    for i in range(rounds):
        first = i % len(items)
        yield [*items[first:], *items[:first]]


def summarise(rounds: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Return the median, minimum and maximum over rounds of a round's mean."""
    means = [statistics.fmean(times) for times in rounds]
    steps = sum(len(times) for times in rounds)
    return {
        "ms_per_step": statistics.median(means),
        "ms_least": min(means),
        "ms_most": max(means),
        "rounds": len(means),
        "steps": steps,
    }


def check_l0(case: Case, l0: float) -> None:
    """Reject the timings of a case that did not keep the wanted number of latents active.

    Raises
    ------
    L0Error
        If it did not; the message has both numbers.
    """
    tolerance = REPEATED if case.method == "matching_pursuit" else L0_TOLERANCE
    if not abs(l0 - case.state) <= tolerance * case.state:
        raise L0Error(
            f"{case.library} was to be timed with {case.state} active latents and had {l0:.1f}, more than "
            f"{tolerance:.0%} away"
        )


def create(case: Case, worker: Worker, samples: Path, dictionary: Path, bound_for: Callable[[float], float]) -> None:
    """Make a worker create the training of a case, with the wanted number of active latents by its own count."""
    setting = asdict(Setting(method=case.method, dtype=case.dtype, batch=case.batch))

    def start(bound: float) -> float:
        worker.ask("create", setting=setting, samples=str(samples), dictionary=str(dictionary), bound=bound)
        worker.ask("steps", count=1)
        return float(worker.ask("l0")["l0"])

    if case.method in WITHOUT_K:
        calibrate(case.state, bound_for, start)
        # counting takes memory of its own, which must not count
        worker.ask("forget")
    else:
        worker.ask("create", setting=setting, samples=str(samples), dictionary=str(dictionary))


def measure(
    group: Group, samples: Path, dictionary: Path, bound_for: Callable[[float], float], effort: Effort, threads: int
) -> tuple[list[dict[str, Any]], Team[Case]]:
    """Return a group's rows of steps.csv, and the team with the versions that answered and the cases that failed."""
    times: dict[Case, list[list[float]]] = {case: [] for case in group.cases}
    with workers([case.library for case in group.cases], threads) as started:
        team = Team(dict(zip(group.cases, started, strict=True)), lambda case: case.name)
        team.each(lambda case, worker: create(case, worker, samples, dictionary, bound_for))
        team.each(lambda case, worker: worker.ask("steps", count=effort.warmup))
        for order in turns(group.cases, effort.rounds):
            team.each(lambda case, worker: times[case].append(worker.ask("steps", count=effort.steps)["ms"]), order)
        # memory first, because counting active latents takes memory of its own
        peaks = team.each(lambda case, worker: worker.ask("peak")["mb"])
        l0 = team.each(lambda case, worker: worker.ask("l0")["l0"])
        team.each(lambda case, worker: check_l0(case, l0[case]))
    rows = []
    for case in team.members:
        row = {**asdict(case), **summarise(times[case]), "peak_mb": peaks[case], "l0": l0[case]}
        rows.append(row)
        log.info("%s: %.1f ms, %.0f MiB", case.name, row["ms_per_step"], row["peak_mb"])
    return rows, team
