"""Measure seconds of TopK training until the decoder recovers the true features: a race at the paper's scale.

Each library runs with its own recommended settings, at the learning rate of its own rule and at 1e-3; the better of
both counts. All trainings take turns of ten steps and are evaluated between turns, off the clock. The learning rates of
a library share its time: after a part of it, the one that has recovered less stops, and the other gets the rest.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.cases import LATENTS, Setting
from benchmarks.workers import Team, Worker, workers
from sdlcore.data.recovery_rule import TAU

log = logging.getLogger(__name__)

THRESHOLDS = (0.9, 0.99)
"""Shares of recovered features to reach."""
N_SAMPLES = 100_000
STEPS = 784
"""Largest number of steps: eight passes over the samples."""
WARMUP = 40
"""Warm-up steps, about 5 %. sparsify's Adam and dictionary_learning use 1000, for much longer trainings."""
TURN = 10
TRIAL = 0.2
"""Share of a library's time in which its learning rates are compared."""


@dataclass
class Attempt:
    """One training of the race."""

    library: str
    lr: float
    rule: str
    """Origin of the learning rate."""
    optimizer: str = "adam"
    dtype: str = "float32"
    warmup: int = 0
    seed: int = 0
    seconds: float = 0.0
    steps: int = 0
    recovered: float = 0.0
    mean: float = 0.0
    """Mean over features of the best |cosine|; it ranks attempts before any feature is recovered."""
    reached: dict[float, tuple[float, int]] = field(default_factory=dict)
    """Seconds and steps after which each threshold was first reached, by threshold."""
    running: bool = True

    def turn(self, seconds: float, steps: int, recovered: float, mean: float) -> None:
        """Record the state after a turn."""
        self.seconds += seconds
        self.steps += steps
        self.recovered, self.mean = recovered, mean
        for threshold in THRESHOLDS:
            if recovered >= threshold:
                self.reached.setdefault(threshold, (self.seconds, self.steps))

    @property
    def name(self) -> str:
        """The attempt in words."""
        return f"{self.library} {self.dtype}: recovery at a learning rate of {self.lr:.2g} ({self.rule})"

    @property
    def finished(self) -> float | None:
        """Seconds until the last threshold, or None if it was not reached."""
        reached = self.reached.get(THRESHOLDS[-1])
        return reached[0] if reached is not None else None


def attempts(libraries: Sequence[str]) -> list[Attempt]:
    """Return the attempts: each library at its rule's learning rate and at 1e-3 (which is ours)."""
    by_width = (LATENTS / 2**14) ** -0.5  # Gao et al. (2024), whom both libraries follow
    every = [
        Attempt("sdlcore", 1e-3, "config/paper.yaml, which is 1e-3"),
        Attempt("sdlcore", 1e-3, "config/paper.yaml, which is 1e-3", dtype="bfloat16"),
        Attempt("sdlcore", 1e-3, "config/paper.yaml, which is 1e-3", dtype="int8"),
        Attempt("saelens", 3e-4, "default"),
        Attempt("saelens", 1e-3, "1e-3"),
        Attempt("dictionary_learning", 2e-4 * by_width, "default", warmup=WARMUP),
        Attempt("dictionary_learning", 1e-3, "1e-3", warmup=WARMUP),
        Attempt("sparsify", 5e-3 * by_width, "default", optimizer="signum"),
        Attempt("sparsify", 1e-3, "1e-3", warmup=WARMUP),
    ]
    return [attempt for attempt in every if attempt.library in libraries]


def referee(race: Sequence[Attempt], limit: float) -> None:
    """Stop attempts that are over: their team's ``limit`` seconds are used up, or they cannot win any more."""
    for attempt in race:
        best = min((rival.finished for rival in _rivals(race, attempt) if rival.finished is not None), default=None)
        beaten = best is not None and attempt.seconds >= best
        spent = attempt.seconds + sum(rival.seconds for rival in _rivals(race, attempt))
        if attempt.finished is not None or attempt.steps >= STEPS or spent >= limit or beaten:
            attempt.running = False
    for attempt in race:
        rivals = [rival for rival in _rivals(race, attempt) if rival.running]
        tried = all(each.seconds >= TRIAL * limit for each in (attempt, *rivals))
        if tried and any((rival.recovered, rival.mean) > (attempt.recovered, attempt.mean) for rival in rivals):
            attempt.running = False


def _rivals(race: Sequence[Attempt], attempt: Attempt) -> list[Attempt]:
    """Return attempts at other learning rates. Our types do not compete with each other: all are reported."""
    team = (attempt.library, attempt.dtype)
    return [other for other in race if other is not attempt and (other.library, other.dtype) == team]


def rows(race: Sequence[Attempt]) -> Iterator[dict[str, Any]]:
    """Yield the rows of recovery.csv. If a threshold was not reached, its row has the time when training ended."""
    for attempt in race:
        for threshold in THRESHOLDS:
            seconds, steps = attempt.reached.get(threshold, (attempt.seconds, attempt.steps))
            yield {
                "library": attempt.library,
                "lr": attempt.lr,
                "seed": attempt.seed,
                "threshold": threshold,
                "seconds": seconds,
                "steps": steps,
                "reached": threshold in attempt.reached,
                "final_recovery": attempt.recovered,
                "dtype": attempt.dtype,
                "optimizer": attempt.optimizer,
                "rule": attempt.rule,
            }


def run(
    libraries: Sequence[str],
    samples: Path,
    features: Path,
    limit: float,
    threads: int,
    seed: int,
    keep: Callable[[list[dict[str, Any]]], None],
) -> Team[int]:
    """Run the race, with at most ``limit`` seconds of training for each library.

    Parameters
    ----------
    keep
        Called after every turn with the current rows of recovery.csv.

    Returns
    -------
    Team
        The versions of the libraries, and the failed trainings.
    """
    race = attempts(libraries)
    for attempt in race:
        attempt.seed = seed
    with workers([attempt.library for attempt in race], threads) as started:
        team = Team(dict(enumerate(started)), lambda i: race[i].name)
        team.each(lambda i, worker: worker.ask("create", setting=asdict(_setting(race[i])), samples=str(samples)))
        while running := [i for i in team.members if race[i].running]:
            team.each(lambda i, worker: _turn(race[i], worker, features), running)
            left = [race[i] for i in team.members]
            referee(left, limit)
            keep(list(rows(left)))
    return team


def _setting(attempt: Attempt) -> Setting:
    return Setting(
        method="topk",
        dtype=attempt.dtype,
        lr=attempt.lr,
        warmup=attempt.warmup,
        optimizer=attempt.optimizer,
        recommended=True,
        seed=attempt.seed,
    )


def _turn(attempt: Attempt, worker: Worker, features: Path) -> None:
    steps = min(TURN, STEPS - attempt.steps)
    milliseconds = worker.ask("steps", count=steps)["ms"]
    state = worker.ask("recovery", features=str(features), threshold=TAU)
    attempt.turn(sum(milliseconds) / 1000, steps, state["recovered"], state["mean"])
    log.info(
        "%-20s %-8s lr %.1e  %6.1f s  step %3d  recovered %5.1f %%  mean |cosine| %.3f",
        *(attempt.library, attempt.dtype, attempt.lr, attempt.seconds, attempt.steps),
        *(100 * attempt.recovered, attempt.mean),
    )
