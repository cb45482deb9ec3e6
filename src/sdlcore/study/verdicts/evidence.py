"""Find the runs that correspond to a row of the paper's tables."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import pandas as pd

from sdlcore.settings import Json
from sdlcore.study.results.runs import KEY
from sdlcore.study.results.tables import PAPER_ANCHORINGS, PAPER_METHODS
from sdlcore.study.settings.cells import Cell as Named
from sdlcore.study.settings.cells import run_settings
from sdlcore.study.settings.study import Study
from sdlcore.study.verdicts.paper import anchored, setting, title
from sdlcore.study.verdicts.scale import Resampling, beside_differences, differences, papers_value

PROTOCOL = "paper"
"""The protocol that numbers and claims are judged under."""
MISSING = "no run of"


class Place(NamedTuple):
    """A row of the paper's tables, whether they have it or not; for Figure 6, its variant as the method."""

    table: str
    method: str
    anchoring: str = "none"
    parameter: str = ""
    value: float = math.nan


@dataclass(frozen=True, eq=False)
class Runs:
    """The runs of one setting, one for each seed."""

    table: pd.DataFrame
    """Indexed by seed, in order."""
    _values: dict[str, pd.Series] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.table)

    def values(self, metric: str) -> pd.Series:
        """Return a metric by seed; empty where any run lacks it, since a mean over some would be another quantity."""
        # numbers, claims and readings of the paper ask for the same few metrics thousands of times
        if metric not in self._values:
            found = self.table[metric].astype(float) if metric in self.table else pd.Series(dtype=float)
            self._values[metric] = found.iloc[:0] if found.isna().any() else found
        return self._values[metric]


class Group(NamedTuple):
    """The runs of one name in a table, which differ in the seed alone."""

    table: str
    run: Named
    """The names that the configuration has for them, with one of their seeds."""
    parameter: str
    value: float
    """What the table varies, at the value of the paper's that the runs stand for; NaN where it varies nothing."""
    runs: Runs
    beside: tuple[str, ...]
    """The table's anchorings on the same source. If there is one, the features that it gives away are those that
    `runs.read_runs` divides runs without anchors by."""
    settings: Mapping[str, Json]
    """What they were made with."""


class Cell(NamedTuple):
    """Our runs for a row of the paper's tables."""

    runs: Runs
    protocol: str
    differences: list[str]
    """What keeps them from the paper's scale; see `scale.differences`."""


@dataclass(frozen=True)
class Evidence:
    """All that verdicts are made from, beside the paper's own numbers."""

    study: Study
    """What the runs are of."""
    runs: Mapping[str, pd.DataFrame]
    """Table -> its runs, as ``tableN_runs.csv`` has them: source, method, protocol, anchoring, seed, metrics.

    Where a table varies a parameter, there are ``parameter``, ``value``, ``paper_value`` (what the paper's table prints
    at the row that these runs stand beside) and ``paper_method`` too; runs that have none, as those of null baselines,
    are none of the paper's.
    """
    resampling: Resampling | None = None
    """What Figure 6's runs are of, where there are any."""
    figure6: pd.DataFrame | None = None
    """As ``figure6.csv`` has it: variant (without, with), seed, final_loss."""

    @cached_property
    def groups(self) -> dict[tuple[str, str], list[Group]]:
        """The runs by the paper's names of their method and anchoring, in the order of the tables."""
        found: dict[tuple[str, str], list[Group]] = {}
        for table, runs in self.runs.items():
            swept = runs.assign(parameter="", value=math.nan) if "value" not in runs else runs
            swept = swept.assign(at=_papers_values(swept))
            given = runs[runs["anchoring"] != "none"].groupby("source")["anchoring"].unique()
            for _, group in swept.groupby([*KEY[:-1], "parameter", "at"], sort=False, dropna=False):
                first = group.iloc[0]
                method = first["paper_method"] if "paper_method" in group else PAPER_METHODS.get(first["method"])
                anchoring = PAPER_ANCHORINGS.get(first["anchoring"])
                if not isinstance(method, str) or anchoring is None:
                    continue
                run = Named(**{name: str(first[name]) for name in KEY[:-1]}, seed=int(first["seed"]))
                parameter = first["parameter"] if isinstance(first["parameter"], str) else ""
                ordered, beside = Runs(group.set_index("seed").sort_index()), tuple(given.get(run.source, ()))
                settings = run_settings(self.study, run).to_dict()
                at = Group(table, run, parameter, float(first["at"]), ordered, beside, settings)
                found.setdefault((method, anchoring), []).append(at)
        return found

    @cached_property
    def looked_up(self) -> dict[tuple[Place, int | None, int | None], dict[str, Cell]]:
        """Results of `cells` by its arguments: numbers, claims and readings look up the same rows many times."""
        return {}


def cells(evidence: Evidence, place: Place, n_anchors: int | None, k: int | None) -> dict[str, Cell]:
    """Return our runs of a row of the paper's tables, by protocol; the one that is judged first.

    Runs of the bench that have all that a row has are its runs, whichever table they were trained for: of several,
    those with the most seeds, the table's own where they have as many. Where there are none, it is those that the
    table has in that place, with what keeps them from the paper's scale.

    Parameters
    ----------
    evidence
        The runs.
    place
        The row.
    n_anchors, k
        What a reading takes the row to have; None where that says nothing of them. For a row without anchors, the
        anchors of the rows that it is compared with, where features are divided by them.
    """
    asked = (place, n_anchors, k)
    if asked in evidence.looked_up:
        return evidence.looked_up[asked]
    found: dict[str, tuple[tuple[bool, int, bool], Cell]] = {}
    swept = {place.parameter: place.value} if place.parameter else {}
    method = None
    for group in evidence.groups.get((place.method, place.anchoring), []):
        own = group.table == place.table and _stands_at(group, place)
        if not own and "table2" in (group.table, place.table):
            continue
        # of several methods that go by the paper's name, a table's first
        method = group.run.method if own and method is None else method
        lacking = differences(evidence.study, place.table, group.run, group.settings, swept, n_anchors, k)
        if place.anchoring == "none" and n_anchors is not None:
            lacking += beside_differences(evidence.study, group.beside, n_anchors)
        if lacking and not (own and group.run.method == method):
            continue
        rank, protocol = (not lacking, len(group.runs), own), group.run.protocol
        if protocol not in found or rank > found[protocol][0]:
            found[protocol] = rank, Cell(group.runs, protocol, lacking)
    first = [PROTOCOL] if PROTOCOL in found else []
    evidence.looked_up[asked] = {protocol: found[protocol][1] for protocol in dict.fromkeys([*first, *found])}
    return evidence.looked_up[asked]


def shortfall(found: Mapping[str, Cell], place: Place) -> list[str]:
    """Return why a row of the paper cannot be judged by the cells found for it; nothing if it can."""
    if not found:
        who = f"{place.method} {anchored(place.anchoring)} in {title(place.table)}"
        return [f"{MISSING} {who}" + (f" at {setting(place.parameter, place.value)}" if place.parameter else "")]
    cell = next(iter(found.values()))
    missing = [] if cell.protocol == PROTOCOL else [f"no run under the protocol {PROTOCOL}"]
    return [*cell.differences, *missing]


def _stands_at(group: Group, place: Place) -> bool:
    """Tell whether runs of a row's own table stand where the row does."""
    return not place.parameter or (group.parameter == place.parameter and abs(group.value - place.value) <= 1e-9)


def _papers_values(runs: pd.DataFrame) -> pd.Series:
    """Return the value of the paper's that each run stands for; its own where that is all there is."""
    own = runs["value"].astype(float)
    if "paper_value" not in runs:
        return own
    printed = runs["paper_value"].astype(float)
    meant = [papers_value(*pair) for pair in zip(runs["parameter"], printed, strict=True)]
    return pd.Series(meant, index=runs.index).where(printed.notna() & (printed != own), own)
