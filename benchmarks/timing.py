"""Milliseconds a step, in turns: every library does a few steps, then the next, and again.

What disturbs a machine for a second then disturbs all of them alike, and the median over rounds is free of it.
"""

import logging
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from benchmarks import memory
from benchmarks.cases import DIMENSION, LATENTS, Case, Group, Setting
from benchmarks.probe import DTYPES, Probe
from benchmarks.workers import workers

log = logging.getLogger(__name__)

L0_TOLERANCE = 0.03
"""Largest difference from the wanted number of active latents, as a share of it."""

T = TypeVar("T")


class Effort(NamedTuple):
    """How long to measure at one batch size."""

    rounds: int
    steps: int
    """Of each library in each round."""
    warmup: int
    """Steps before the first round."""


EFFORTS = {1024: Effort(rounds=4, steps=2, warmup=1), 4096: Effort(rounds=2, steps=1, warmup=1)}


class L0Error(RuntimeError):
    """Libraries are not in the state in which they were to be timed."""


def turns(items: Sequence[T], rounds: int) -> Iterable[list[T]]:
    """Give the order of each round: every item once, a different one first."""
    for i in range(rounds):
        first = i % len(items)
        yield [*items[first:], *items[:first]]


def summarise(rounds: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Return the median, least and largest over rounds of a round's mean."""
    means = [statistics.fmean(times) for times in rounds]
    steps = sum(len(times) for times in rounds)
    return {
        "ms_per_step": statistics.median(means),
        "ms_least": min(means),
        "ms_most": max(means),
        "rounds": len(means),
        "steps": steps,
    }


def check_l0(measured: dict[Case, float]) -> None:
    """Refuse timings of libraries that did not keep the wanted number of latents active.

    Raises
    ------
    L0Error
        Naming every library's number.
    """
    if any(abs(l0 - case.state) > L0_TOLERANCE * case.state for case, l0 in measured.items()):
        found = ", ".join(f"{case.library} {case.dtype} {l0:.1f}" for case, l0 in measured.items())
        wanted = {case.state for case in measured}
        raise L0Error(f"{next(iter(measured)).method} was to be timed with {wanted} active latents, found: {found}")


def measure(
    group: Group, samples: Path, state: Path, effort: Effort, threads: int
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Return a group's rows of steps.csv, and the versions that answered."""
    probe = Probe(group.batch)
    with workers([case.library for case in group.cases], threads) as (started, versions):
        team = dict(zip(group.cases, started, strict=True))
        for case, worker in team.items():
            setting = Setting(method=case.method, dtype=case.dtype, batch=case.batch)
            worker.ask("create", setting=asdict(setting), samples=str(samples), state=str(state))
            worker.ask("steps", count=effort.warmup)
        times: dict[Case, list[list[float]]] = {case: [] for case in team}
        probes: dict[str, list[float]] = {dtype: [] for dtype in DTYPES}
        for order in turns(list(team), effort.rounds):
            for dtype in DTYPES:
                probes[dtype].append(probe(dtype))
            for case in order:
                times[case].append(team[case].ask("steps", count=effort.steps)["ms"])
        # memory first: asking for the active latents takes some of its own
        peaks = {case: worker.ask("peak")["mb"] for case, worker in team.items()}
        l0 = {case: worker.ask("l0")["l0"] for case, worker in team.items()}
    check_l0(l0)
    rows = []
    for case in group.cases:
        row = {**asdict(case), **summarise(times[case]), "peak_mb": peaks[case], "l0": l0[case]}
        row |= {"probe_ms": statistics.median(probes["float32"])}
        row |= {"probe_bfloat16_ms": statistics.median(probes["bfloat16"])}
        if case.library == "sdlcore":
            n_parameters = memory.parameters(case.method, DIMENSION, LATENTS)
            row["budget_mb"] = memory.budget(n_parameters, case.batch, DIMENSION, LATENTS, case.dtype)
            row["peak_to_budget"] = peaks[case] / row["budget_mb"]
        rows.append(row)
        log.info(
            "%-11s B=%-5d L0=%-5d %-20s %-8s %8.1f ms  (dense product %.1f, %.1f)  %6.0f MiB",
            *(case.method, case.batch, case.state, case.library, case.dtype, row["ms_per_step"]),
            *(row["probe_ms"], row["probe_bfloat16_ms"], row["peak_mb"]),
        )
    return rows, versions
