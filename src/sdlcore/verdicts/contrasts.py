"""What claims are about: levels and differences of our runs, or of the paper's own numbers, read in the same way."""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from itertools import product
from typing import NamedTuple

import numpy as np
import pandas as pd

from sdlcore.verdicts.evidence import Evidence, cells, places, shortfall
from sdlcore.verdicts.paper import MEASURES, anchored, setting, title
from sdlcore.verdicts.scale import SWEPT, figure6_differences

FIGURE6 = "figure6"


class Where(NamedTuple):
    """A row of the paper's tables, whether they have it or not; for Figure 6, its variant as the method."""

    table: str
    method: str
    anchoring: str = "none"
    parameter: str = ""
    value: float = math.nan


class Reading(NamedTuple):
    """Values by seed in the paper's unit, none where there is no such run, and what keeps them from being judged."""

    values: pd.Series
    lacking: tuple[str, ...] = ()
    protocol: str = ""
    """Which the runs were trained under, empty where there is none, or no one protocol."""
    nought: bool = False
    """Of a difference: whether both sides are 0 in every seed, so that neither could be above the other."""

    def __sub__(self, other: "Reading") -> "Reading":
        """Return the differences of seeds that both have: both runs of a seed share features, samples and order."""
        lacking = tuple(dict.fromkeys([*self.lacking, *other.lacking]))
        same = self.protocol if self.protocol == other.protocol else ""
        nought = not (self.values.any() or other.values.any())
        return Reading((self.values - other.values).dropna(), lacking, same, nought)


class Contrast(NamedTuple):
    """One of the quantities that a claim is about, and its name."""

    label: str
    reading: Reading
    number: str = ""
    """Which of `paper.MEASURES` it is a value of; empty for a difference, which has no tolerance and no ends."""


Lookup = Callable[[Where, str], Reading]
"""Reads a metric of runs at a place."""
Contrasts = Callable[[Lookup], list[Contrast]]
NOTHING = pd.Series(dtype=float)
NEVER_FIRED = "resampling never fired"


def judged_runs(evidence: Evidence) -> Lookup:
    """Return a lookup of our runs that are judged: those of the protocol ``paper``, or else shown in their place."""

    rows = cache(lambda where: cells(evidence, *where))

    def read(where: Where, metric: str) -> Reading:
        if where.table == FIGURE6:
            return _figure6(evidence, where.method)
        found = rows(where)
        who = f"{where.method} {anchored(where.anchoring)} in {title(where.table)}"
        lacking = shortfall(found, who, where.parameter, where.value)
        if not found:
            return Reading(NOTHING, tuple(lacking))
        cell = next(iter(found.values()))
        return Reading(cell.values(metric) * _unit(metric), tuple(lacking), cell.protocol)

    return read


def runs_under(evidence: Evidence, protocol: str) -> Lookup:
    """Return a lookup of our runs of one protocol."""

    rows = cache(lambda where: cells(evidence, *where))

    def read(where: Where, metric: str) -> Reading:
        if where.table == FIGURE6:
            return Reading(NOTHING)
        cell = rows(where).get(protocol)
        return Reading(cell.values(metric) * _unit(metric), tuple(cell.differences)) if cell else Reading(NOTHING)

    return read


def papers_numbers(numbers: pd.DataFrame) -> Lookup:
    """Return a lookup of the paper's own numbers, as if they were one seed; they have only its own metrics."""
    columns = {next(iter(measure.metrics.values())): name for name, measure in MEASURES.items()}

    held = dict(iter(numbers.groupby(["table", "method", "anchoring", "number"])))

    def read(where: Where, metric: str) -> Reading:
        for table, value in places(where.table, where.parameter, where.value):
            rows = held.get((table, where.method, where.anchoring, columns.get(metric)))
            if rows is None:
                continue
            found = rows[np.isclose(rows["value"], value, equal_nan=True)]
            if len(found):
                return Reading(pd.Series([float(found["paper"].iloc[0])]))
        return Reading(NOTHING)

    return read


def levels(places: Sequence[Where], metric: str) -> Contrasts:
    """Return a metric at each place."""
    number = next(name for name, measure in MEASURES.items() if metric in measure.metrics.values())
    return lambda read: [Contrast(name(place), read(place, metric), number) for place in places]


def changes(places: Sequence[Where], metric: str) -> Contrasts:
    """Return what anchoring changes at each place."""
    return lambda read: [Contrast(name(place), _change(read, place, metric)) for place in places]


def steps(pairs: Sequence[tuple[Where, Where]], metric: str) -> Contrasts:
    """Return the first of each pair of places minus the second."""
    return lambda read: [Contrast(f"{name(a)} minus {name(b)}", read(a, metric) - read(b, metric)) for a, b in pairs]


def steps_of_changes(pairs: Sequence[tuple[Where, Where]], metric: str) -> Contrasts:
    """Return what anchoring changes at the first of each pair of places, minus what it changes at the second."""
    return lambda read: [
        Contrast(f"{name(a)} minus {name(b)}", _change(read, a, metric) - _change(read, b, metric)) for a, b in pairs
    ]


def beyond_anchors(places: Sequence[Where], metric: str) -> Contrasts:
    """Return what anchored dictionaries have at each place beyond the anchors alone, which need no training."""
    return lambda read: [
        Contrast(name(place), _anchored(read, place, metric) - _anchored(read, place, f"anchors_only_{metric}"))
        for place in places
    ]


def resampling() -> Contrasts:
    """Return the final loss with resampling minus that without."""
    with_, without = Where(FIGURE6, "with"), Where(FIGURE6, "without")
    return lambda read: [Contrast("with minus without", read(with_, "final_loss") - read(without, "final_loss"))]


def grid(
    table: str,
    methods: Iterable[str],
    values: Iterable[float] = (math.nan,),
    anchorings: Iterable[str] = ("none",),
) -> list[Where]:
    """Return every place of a table, by method, value and anchoring."""
    return [
        Where(table, method, anchoring, SWEPT[table], value)
        for method, value, anchoring in product(methods, values, anchorings)
    ]


def name(place: Where) -> str:
    """Return a place in words; that it is without anchors goes without saying."""
    at = f" at {setting(place.parameter, place.value)}" if place.parameter else ""
    return f"{place.method}{at}{'' if place.anchoring == 'none' else ' with anchors'}"


def _anchored(read: Lookup, place: Where, metric: str) -> Reading:
    return read(place._replace(anchoring="anchored"), metric)


def _change(read: Lookup, place: Where, metric: str) -> Reading:
    return _anchored(read, place, metric) - read(place._replace(anchoring="none"), metric)


def _figure6(evidence: Evidence, variant: str) -> Reading:
    summary = evidence.figure6
    if summary is None:
        return Reading(NOTHING, ("no runs of Figure 6",))
    runs = summary[summary["variant"] == variant].set_index("seed")
    lacking = figure6_differences(evidence.config)
    if variant == "with" and not runs["resampled"].any():
        lacking.append(NEVER_FIRED)
    protocol = evidence.config["figures"][FIGURE6]["protocol"]
    return Reading(runs["final_loss"].astype(float), tuple(lacking), protocol)


def _unit(metric: str) -> float:
    return 100.0 if "gt_recovery" in metric else 1.0
