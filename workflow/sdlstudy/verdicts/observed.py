"""Look up a metric for a row of the paper's tables, in our runs or in the paper's own numbers."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from sdlcore.evaluation.metric_names import FeatureSet, Matched
from sdlcore.evaluation.metrics import METRICS
from sdlstudy.verdicts.contradictions import half_unit
from sdlstudy.verdicts.evidence import NOTHING, Cell, Evidence, Place, cells, shortfall
from sdlstudy.verdicts.paper import MEASURES
from sdlstudy.verdicts.readings import JUDGED, MEASURED, WITH_K, Reading, stated
from sdlstudy.verdicts.scale import DEFAULTS, SWEPT, figure6_differences

FIGURE6 = "figure6"
SHARING = ("table1", "table6", "table7", "table5", "table4")
"""Bench tables, which all contain Table 1's setting. Tables whose rows repeat Table 1 come first."""
NEVER_FIRED = "resampling never fired"


class Observed(NamedTuple):
    """Values by seed in the paper's unit, or differences of such values."""

    values: pd.Series
    """Empty if there is no run."""
    lacking: tuple[str, ...] = ()
    """Reasons why the values cannot be judged."""
    protocol: str = ""
    """Protocol of the runs; empty without runs and for runs of different protocols."""
    end: float | None = None
    """An end of the scale, 0 or 100, if all values equal it; else None.

    For a difference: the end that both sides equal. For a difference of changes: the end that both sides of one change
    equal. Neither side can then be above the other.
    """
    order: int = 0
    """0 for a level, 1 for a difference of levels, 2 for a difference of such differences."""
    rounding: float = 0.0
    """Largest error from the rounding of printed digits."""

    def __sub__(self, other: "Observed") -> "Observed":
        """Return differences for the seeds on both sides. Runs of one seed share features, samples and their order."""
        lacking = tuple(dict.fromkeys([*self.lacking, *other.lacking]))
        if self.order or other.order:  # a comparison of changes is void if a change could not be seen
            end = self.end if self.end is not None else other.end
        else:
            end = self.end if self.end == other.end else None
        # most lookups under other readings are empty, and subtraction in pandas is slow
        empty = self.values.empty or other.values.empty
        return Observed(
            values=NOTHING if empty else (self.values - other.values).dropna(),
            lacking=lacking,
            protocol=self.protocol if self.protocol == other.protocol else "",
            end=end,
            order=max(self.order, other.order) + 1,
            rounding=self.rounding + other.rounding,
        )


Lookup = Callable[[Place, str], Observed]
"""Function from a place and a metric to values. The metric's name assumes cosines and tau = .9; a lookup replaces both
by the similarity and threshold of its reading."""
Under = Callable[[str], Reading]
"""Table -> the reading of its numbers."""


def judged_reading(table: str) -> Reading:
    """Return the reading under which a table is judged."""
    return stated(table)[JUDGED]


def under(metric: str, reading: Reading) -> str:
    """Return the name of a metric under a reading.

    The reading sets tau, and the similarity of encoder rows. Decoder columns are compared by cosines under every
    reading, since the paper's formula does not mention their norms. Other metrics stay as they are.
    """
    matched = METRICS[metric].matched if metric in METRICS else None
    if matched is None:
        return metric
    if matched.side == "encoder" and matched.baseline is None:
        matched = replace(matched, similarity=reading.similarity(matched.measure))
    return replace(matched, tau=reading.tau).name


def runs_of(evidence: Evidence, readings: Under = judged_reading, protocol: str | None = None) -> Lookup:
    """Return a lookup of our runs.

    Parameters
    ----------
    evidence
        The runs.
    readings
        The reading of each table.
    protocol
        Read only the runs of this protocol. By default the lookup reads runs of the judged protocol; without such runs
        it reads another protocol's and adds the reason why they cannot be judged.
    """

    def read(place: Place, metric: str) -> Observed:
        if place.table == FIGURE6:
            return Observed(NOTHING) if protocol else _figure6(evidence, place.method)
        reading = readings(place.table)
        n_anchors = reading.n_anchors if METRICS[metric].by_anchors or place.anchoring != "none" else None
        k = None if place.parameter == "k" or place.method not in WITH_K else reading.k
        by_protocol = cells(evidence, place, n_anchors, k)
        if protocol is not None:
            cell = by_protocol.get(protocol)
            return Observed(NOTHING) if cell is None else _observed(cell, under(metric, reading), cell.differences)
        lacking = shortfall(by_protocol, place)
        if not by_protocol:
            return Observed(NOTHING, tuple(lacking))
        return _observed(next(iter(by_protocol.values())), under(metric, reading), lacking)

    return read


def _observed(cell: Cell, metric: str, lacking: Sequence[str]) -> Observed:
    values = cell.runs.values(metric) * MEASURES[number_of(metric)].unit
    return Observed(values, tuple(lacking), cell.protocol, _end(values, metric))


def _figure6(evidence: Evidence, variant: str) -> Observed:
    summary, resampling = evidence.figure6, evidence.resampling
    if summary is None or resampling is None:
        return Observed(NOTHING, ("no runs of Figure 6",))
    runs = summary[summary["variant"] == variant].set_index("seed")
    lacking = figure6_differences(evidence.study, resampling)
    if variant == "with" and not runs["resampled"].any():
        lacking.append(NEVER_FIRED)
    return Observed(runs["final_loss"].astype(float), tuple(lacking), resampling.protocol)


def papers_numbers(numbers: pd.DataFrame) -> Lookup:
    """Return a lookup of the paper's own numbers, as if each were one seed.

    The paper prints only metrics of the encoder. If a table's text scores anchored rows on the features that are not
    anchors, the table lacks numbers over all features for these rows.
    """
    printed = dict(iter(numbers.groupby(["table", "method", "anchoring", "number"])))

    def read(place: Place, metric: str) -> Observed:
        if place.table == FIGURE6:
            return Observed(NOTHING)
        matched, number = _matched(metric), number_of(metric)
        of_others = matched.features == FeatureSet.UNANCHORED
        if replace(matched, features=FeatureSet.ALL) != Matched("encoder", measure=matched.measure):
            return Observed(NOTHING)
        for table, value in _same_rows(place):
            rows = printed.get((table, place.method, place.anchoring, number))
            # tables differ in their anchors, so also in the features that are not anchors
            if rows is None or not _scores(table, place.anchoring, of_others) or (of_others and table != place.table):
                continue
            matches = rows[np.isclose(rows["value"], value, equal_nan=True)]
            if len(matches):
                paper = float(matches["paper"].iloc[0])
                values = pd.Series([paper])
                return Observed(values, end=_end(values, metric), rounding=half_unit(paper, number))
        return Observed(NOTHING)

    return read


def _scores(table: str, anchoring: str, of_others: bool) -> bool:
    """Return whether a table prints a row's score over the features that are not anchors (``of_others``), or over all.

    Rows without anchors are scored on all features, and compared with either score.
    """
    unanchored_only = judged_reading(table).scored == FeatureSet.UNANCHORED
    return unanchored_only if of_others else not unanchored_only or anchoring == "none"


def _same_rows(place: Place) -> Iterator[tuple[str, float]]:
    """Yield the tables that print a row, with the value of the parameter that each varies; the row's own table first.

    Table 1 prints all of its rows. Other tables use other anchors, so they do not repeat its anchored rows.
    """
    yield place.table, place.value
    if place.table in SHARING[1:] and abs(DEFAULTS[place.parameter] - place.value) <= 1e-9:
        yield from ((other, DEFAULTS.get(SWEPT[other], math.nan)) for other in SHARING if other != place.table)


def number_of(metric: str) -> str:
    """Return the key of `paper.MEASURES` that a recovery or MIP corresponds to."""
    return next(number for number, measure in MEASURED.items() if measure == _matched(metric).measure)


def _matched(metric: str) -> Matched:
    matched = METRICS[metric].matched
    if matched is None:
        raise ValueError(f"{metric} has no reading, expected a recovery or an MIP")
    return matched


def _end(values: pd.Series, metric: str) -> float | None:
    """Return 0 or 100 if all recoveries equal it, else None. MIP has no upper end, so the result is None."""
    most = MEASURES[number_of(metric)].most
    if math.isfinite(most) and len(values):
        for end in (0.0, most):
            if np.abs(values.to_numpy() - end).max() < 1e-9:
                return end
    return None
