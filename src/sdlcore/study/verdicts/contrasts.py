"""Compute the levels and differences that claims are judged by."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import NamedTuple

import numpy as np
import pandas as pd

from sdlcore.evaluation.metrics import ALL, ANCHORS_ONLY, METRICS, OTHERS, Matched
from sdlcore.study.verdicts.contradictions import half_unit
from sdlcore.study.verdicts.evidence import Cell, Evidence, Place, cells, shortfall
from sdlcore.study.verdicts.paper import MEASURES, setting
from sdlcore.study.verdicts.readings import JUDGED, MEASURED, WITH_K, Reading, stated
from sdlcore.study.verdicts.scale import DEFAULTS, SWEPT, figure6_differences

FIGURE6 = "figure6"
SHARING = ("table1", "table6", "table7", "table5", "table4")
"""The tables of the bench, which have Table 1's setting in common, those first whose rows repeat it."""


class Observed(NamedTuple):
    """Values by seed in the paper's unit, none where there is no such run, and what keeps them from being judged."""

    values: pd.Series
    lacking: tuple[str, ...] = ()
    protocol: str = ""
    """Which the runs were trained under, empty where there is none, or no one protocol."""
    end: float | None = None
    """The end of the scale, 0 or 100 %, at which all values stand, and of a difference both sides: neither could be
    above or below the other. Of a difference of changes, the end at which both sides of one change stand."""
    order: int = 0
    """0 for a level, 1 for a difference of levels, 2 for a difference of such differences."""
    rounding: float = 0.0
    """How far printed digits leave values open."""

    def __sub__(self, other: "Observed") -> "Observed":
        """Return the differences of seeds that both have: both runs of a seed share features, samples and order."""
        lacking = tuple(dict.fromkeys([*self.lacking, *other.lacking]))
        same = self.protocol if self.protocol == other.protocol else ""
        if self.order or other.order:  # a change that could not be seen says nothing beside another one
            end = self.end if self.end is not None else other.end
        else:
            end = self.end if self.end == other.end else None
        values, order = (self.values - other.values).dropna(), max(self.order, other.order) + 1
        return Observed(values, lacking, same, end, order, self.rounding + other.rounding)


class Contrast(NamedTuple):
    """One of the quantities that a claim is about, and its name."""

    label: str
    observed: Observed
    number: str = ""
    """Which of `paper.MEASURES` it is a value of; empty for a difference, which has no tolerance and no ends."""

    @property
    def blind(self) -> bool:
        """Whether it is a difference of two sides that stand at the same end, or of such a change: it cannot tell."""
        return not self.number and self.observed.end is not None


Under = Callable[[str], Reading]
"""Table -> the reading that its numbers are taken in."""
Lookup = Callable[[Place, str], Observed]
"""Reads a metric at a place: by its name under cosines and tau = .9, which a reading turns into its own."""
Contrasts = Callable[[Lookup], list[Contrast]]
NOTHING = pd.Series(dtype=float)
NEVER_FIRED = "resampling never fired"


def by_text(table: str) -> Reading:
    """Return the reading that a table is judged under."""
    return stated(table)[JUDGED]


def under(metric: str, reading: Reading) -> str:
    """Return the metric that stands for one of cosines and tau = .9 under a reading.

    Decoder columns are compared by cosines under every reading: their norms are no part of the paper's formula. What is
    neither recovery nor MIP, such as Figure 6's loss, is the same under every reading.
    """
    if metric not in METRICS or METRICS[metric].matched is None:
        return metric
    matched = _matched(metric)
    if matched.side == "encoder" and matched.baseline is None:
        matched = replace(matched, similarity=reading.similarity(matched.measure))
    return replace(matched, tau=reading.tau).name


def runs_of(evidence: Evidence, readings: Under = by_text, protocol: str | None = None) -> Lookup:
    """Return a lookup of our runs.

    Parameters
    ----------
    evidence
        The runs.
    readings
        The reading of each table.
    protocol
        Runs of this protocol alone; None for those that are judged: the paper's, or else what is shown in their place.
    """

    def rows(place: Place, divided: bool) -> dict[str, Cell]:
        reading = readings(place.table)
        varied = place.parameter == "k" or place.method not in WITH_K
        n_anchors = reading.n_anchors if divided or place.anchoring != "none" else None
        return cells(evidence, place, n_anchors, None if varied else reading.k)

    def read(place: Place, metric: str) -> Observed:
        if place.table == FIGURE6:
            return Observed(NOTHING) if protocol else _figure6(evidence, place.method)
        found = rows(place, METRICS[metric].by_anchors)
        name = under(metric, readings(place.table))
        if protocol is not None:
            cell = found.get(protocol)
            return Observed(NOTHING) if cell is None else _observed(cell, name, cell.differences)
        lacking = shortfall(found, place)
        return _observed(next(iter(found.values())), name, lacking) if found else Observed(NOTHING, tuple(lacking))

    return read


def _observed(cell: Cell, metric: str, lacking: Sequence[str]) -> Observed:
    values = cell.runs.values(metric) * MEASURES[_number(metric)].unit
    return Observed(values, tuple(lacking), cell.protocol, _end(values, metric))


def papers_numbers(numbers: pd.DataFrame) -> Lookup:
    """Return a lookup of the paper's own numbers, as if they were one seed; they have only its own metrics.

    Place a table's text scores its anchored rows on features that are no anchors, its numbers are of these.
    """
    held = dict(iter(numbers.groupby(["table", "method", "anchoring", "number"])))

    def read(place: Place, metric: str) -> Observed:
        if place.table == FIGURE6:
            return Observed(NOTHING)
        matched, number = _matched(metric), _number(metric)
        not_given = matched.features == OTHERS
        if (replace(matched, features=ALL) if not_given else matched) != Matched("encoder", measure=matched.measure):
            return Observed(NOTHING)
        for table, value in _places(place):
            rows = held.get((table, place.method, place.anchoring, number))
            if rows is None or not _scores(table, place.anchoring, not_given):
                continue
            if not_given and table != place.table:  # another table's anchors are other ones
                continue
            found = rows[np.isclose(rows["value"], value, equal_nan=True)]
            if len(found):
                printed = float(found["paper"].iloc[0])
                values, rounding = pd.Series([printed]), half_unit(printed, number)
                return Observed(values, end=_end(values, metric), rounding=rounding)
        return Observed(NOTHING)

    return read


def _scores(table: str, anchoring: str, not_given: bool) -> bool:
    """Tell whether a table's text scores its rows on features that are no anchors, or else on all.

    Rows without anchors are scored on all, and compared with either.
    """
    others = by_text(table).scored == OTHERS
    return others if not_given else not others or anchoring == "none"


def _places(place: Place) -> Iterator[tuple[str, float]]:
    """Yield the tables that a row of the paper can be read off, its own first, and the value that it has there.

    Table 1 has all of its rows and reads none off others, whose anchors are other ones.
    """
    yield place.table, place.value
    if place.table in SHARING[1:] and abs(DEFAULTS[place.parameter] - place.value) <= 1e-9:
        for other in SHARING:
            if other != place.table:
                yield other, DEFAULTS.get(SWEPT[other], math.nan)


def levels(places: Sequence[Place], metric: str) -> Contrasts:
    """Return a metric at each place."""
    return lambda read: [Contrast(name(place), read(place, metric), _number(metric)) for place in places]


def changes(places: Sequence[Place], metric: str) -> Contrasts:
    """Return what anchoring changes at each place."""
    return lambda read: [Contrast(name(place), _change(read, place, metric)) for place in places]


def steps(pairs: Sequence[tuple[Place, Place]], metric: str) -> Contrasts:
    """Return the first of each pair of places minus the second."""
    return lambda read: [Contrast(f"{name(a)} minus {name(b)}", read(a, metric) - read(b, metric)) for a, b in pairs]


def steps_of_changes(pairs: Sequence[tuple[Place, Place]], metric: str) -> Contrasts:
    """Return what anchoring changes at the first of each pair of places, minus what it changes at the second."""
    return lambda read: [
        Contrast(f"{name(a)} minus {name(b)}", _change(read, a, metric) - _change(read, b, metric)) for a, b in pairs
    ]


def beyond_anchors(places: Sequence[Place], metric: str) -> Contrasts:
    """Return what anchored dictionaries have at each place beyond the anchors alone, which need no training."""
    alone = replace(_matched(metric), baseline=ANCHORS_ONLY).name
    return lambda read: [
        Contrast(name(place), _anchored(read, place, metric) - _anchored(read, place, alone)) for place in places
    ]


def resampling() -> Contrasts:
    """Return the final loss with resampling minus that without."""
    with_, without = Place(FIGURE6, "with"), Place(FIGURE6, "without")
    return lambda read: [Contrast("with minus without", read(with_, "final_loss") - read(without, "final_loss"))]


def grid(
    table: str,
    methods: Iterable[str],
    values: Iterable[float] = (math.nan,),
    anchorings: Iterable[str] = ("none",),
) -> list[Place]:
    """Return every place of a table, by method, value and anchoring."""
    return [
        Place(table, method, anchoring, SWEPT[table], value)
        for method, value, anchoring in product(methods, values, anchorings)
    ]


def pairs(
    table: str,
    methods: Iterable[str],
    value: float,
    others: Iterable[float],
    anchorings: Iterable[str] = ("none",),
) -> list[tuple[Place, Place]]:
    """Return the places of a table at a value, each with those at other values."""
    return [(other._replace(value=value), other) for other in grid(table, methods, others, anchorings)]


def name(place: Place) -> str:
    """Return a place in words; that it is without anchors goes without saying."""
    at = f" at {setting(place.parameter, place.value)}" if place.parameter else ""
    return f"{place.method}{at}{'' if place.anchoring == 'none' else ' with anchors'}"


def _anchored(read: Lookup, place: Place, metric: str) -> Observed:
    return read(place._replace(anchoring="anchored"), metric)


def _change(read: Lookup, place: Place, metric: str) -> Observed:
    return _anchored(read, place, metric) - read(place._replace(anchoring="none"), metric)


def _figure6(evidence: Evidence, variant: str) -> Observed:
    summary, asked = evidence.figure6, evidence.resampling
    if summary is None or asked is None:
        return Observed(NOTHING, ("no runs of Figure 6",))
    runs = summary[summary["variant"] == variant].set_index("seed")
    lacking = figure6_differences(evidence.study, asked)
    if variant == "with" and not runs["resampled"].any():
        lacking.append(NEVER_FIRED)
    protocol = asked.protocol
    return Observed(runs["final_loss"].astype(float), tuple(lacking), protocol)


def _matched(metric: str) -> Matched:
    matched = METRICS[metric].matched
    if matched is None:
        raise ValueError(f"{metric} has no reading, expected a recovery or an MIP")
    return matched


def _number(metric: str) -> str:
    """Return as which number the paper prints a metric."""
    return next(number for number, measure in MEASURED.items() if measure == _matched(metric).measure)


def _end(values: pd.Series, metric: str) -> float | None:
    """Return the end of recovery's scale that all values stand at, None where they do not. MIP's is open."""
    most = MEASURES[_number(metric)].most
    if math.isfinite(most) and len(values):
        for end in (0.0, most):
            if np.abs(values.to_numpy() - end).max() < 1e-9:
                return end
    return None
