"""Find the runs that correspond to a row of the paper's tables."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd

from sdlcore.settings import Json
from sdlstudy.results.runs import KEY
from sdlstudy.results.tables import PAPER_ANCHORINGS, PAPER_METHODS
from sdlstudy.settings.cells import Cell as Named
from sdlstudy.settings.cells import run_settings
from sdlstudy.settings.study import Study
from sdlstudy.verdicts.paper import anchored, setting, title
from sdlstudy.verdicts.scale import Resampling, beside_differences, differences, papers_value

PROTOCOL = "paper"
"""The protocol under which numbers and claims are judged."""
MISSING = "no run of"
NOTHING = pd.Series(dtype=float)


class Place(NamedTuple):
    """A row that the paper's tables print or could print. For Figure 6, the method is the variant."""

    table: str
    method: str
    anchoring: str = "none"
    parameter: str = ""
    value: float = math.nan


@dataclass(frozen=True, eq=False)
class Runs:
    """The runs of one setting, one for each seed."""

    table: pd.DataFrame
    """One row a run, indexed by seed in ascending order."""
    _values: dict[str, pd.Series] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.table)

    def values(self, metric: str) -> pd.Series:
        """Return a metric by seed; empty if any run lacks it, since the mean over the others would mislead."""
        # cached, because verdicts read the same few metrics thousands of times
        if metric not in self._values:
            values = self.table[metric].astype(float) if metric in self.table else NOTHING
            self._values[metric] = NOTHING if np.isnan(values.to_numpy()).any() else values
        return self._values[metric]


class Group(NamedTuple):
    """The runs of a table that differ only in the seed."""

    table: str
    run: Named
    """Names of source, method, protocol and anchoring in the configuration, with one of the seeds."""
    parameter: str
    value: float
    """The paper's value of the parameter that the table varies; NaN if the table varies nothing."""
    runs: Runs
    beside: tuple[str, ...]
    """The table's anchorings on the same source.

    A single one decides which features `runs.read_runs` counts as given and as not given in runs without anchors."""
    settings: Mapping[str, Json]


class Cell(NamedTuple):
    """Our runs that correspond to a row of the paper's tables."""

    runs: Runs
    protocol: str
    differences: list[str]
    """How the runs differ from the paper's scale, as `scale.differences` returns it."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """Our runs that verdicts on the paper are based on."""

    study: Study
    """The configuration of the runs."""
    runs: Mapping[str, pd.DataFrame]
    """Table -> its runs, with the columns of ``tableN_runs.csv``: source, method, protocol, anchoring, seed, metrics.

    Tables that vary a parameter also have ``parameter``, ``value``, ``paper_value`` (the value that the paper's table
    prints at the corresponding row) and ``paper_method``. Runs with an empty ``paper_method``, such as null baselines,
    are not compared.
    """
    resampling: Resampling | None = None
    """The runs that Figure 6 compares; None if it was not made."""
    figure6: pd.DataFrame | None = None
    """The rows of ``figure6.csv``, with the columns variant (without, with), seed, final_loss and resampled."""
    cells_of_rows: dict[tuple[Place, int | None, int | None], dict[str, Cell]] = field(default_factory=dict, init=False)
    """Cache of `cells`, which is called many times with the same arguments."""

    @cached_property
    def groups(self) -> dict[tuple[str, str], list[Group]]:
        """The groups of runs by the paper's names of method and anchoring, in the order of the tables."""
        groups: dict[tuple[str, str], list[Group]] = {}
        for table, runs in self.runs.items():
            swept = runs.assign(parameter="", value=math.nan) if "value" not in runs else runs
            swept = swept.assign(at=_papers_values(swept))
            anchorings = runs[runs["anchoring"] != "none"].groupby("source")["anchoring"].unique()
            for _, group in swept.groupby([*KEY[:-1], "parameter", "at"], sort=False, dropna=False):
                first = group.iloc[0]
                method = first["paper_method"] if "paper_method" in group else PAPER_METHODS.get(first["method"])
                anchoring = PAPER_ANCHORINGS.get(first["anchoring"])
                if not isinstance(method, str) or anchoring is None:
                    continue
                run = Named(**{name: str(first[name]) for name in KEY[:-1]}, seed=int(first["seed"]))
                groups.setdefault((method, anchoring), []).append(
                    Group(
                        table=table,
                        run=run,
                        parameter=first["parameter"] if isinstance(first["parameter"], str) else "",
                        value=float(first["at"]),
                        runs=Runs(group.set_index("seed").sort_index()),
                        beside=tuple(anchorings.get(run.source, ())),
                        settings=run_settings(self.study, run).to_dict(),
                    )
                )
        return groups


def cells(evidence: Evidence, place: Place, n_anchors: int | None, k: int | None) -> dict[str, Cell]:
    """Return our runs for a row of the paper's tables, by protocol; the judged protocol comes first.

    Bench runs with all settings of a row belong to the row, whichever table they were trained for. If several groups of
    runs match the row, the group with the most seeds is returned, and among equals the group of the row's own table. If
    no group matches, the table's own runs at that row are returned with the reasons why they are not at the paper's
    scale.

    Parameters
    ----------
    evidence
        The runs.
    place
        The row.
    n_anchors, k
        The values that a reading assumes, None if it assumes none. For a row without anchors, ``n_anchors`` is the
        number of anchors of the rows that it is compared with, if the score separates given features from others.
    """
    key = (place, n_anchors, k)
    if key in evidence.cells_of_rows:
        return evidence.cells_of_rows[key]
    candidates: dict[str, tuple[tuple[bool, int, bool], Cell]] = {}
    swept = {place.parameter: place.value} if place.parameter else {}
    method = None
    for group in evidence.groups.get((place.method, place.anchoring), []):
        in_own_table = group.table == place.table and _is_at(group, place)
        if not in_own_table and "table2" in (group.table, place.table):
            continue
        # several of our methods may have the same name in the paper; only the first one in the table is used
        method = group.run.method if in_own_table and method is None else method
        lacking = differences(evidence.study, place.table, group.run, group.settings, swept, n_anchors, k)
        if place.anchoring == "none" and n_anchors is not None:
            lacking += beside_differences(evidence.study, group.beside, n_anchors)
        if lacking and not (in_own_table and group.run.method == method):
            continue
        rank, protocol = (not lacking, len(group.runs), in_own_table), group.run.protocol
        if protocol not in candidates or rank > candidates[protocol][0]:
            candidates[protocol] = rank, Cell(group.runs, protocol, lacking)
    first = [PROTOCOL] if PROTOCOL in candidates else []
    evidence.cells_of_rows[key] = {
        protocol: candidates[protocol][1] for protocol in dict.fromkeys([*first, *candidates])
    }
    return evidence.cells_of_rows[key]


def shortfall(by_protocol: Mapping[str, Cell], place: Place) -> list[str]:
    """Return the reasons why the cells of a row of the paper cannot judge it; empty if they can."""
    if not by_protocol:
        who = f"{place.method} {anchored(place.anchoring)} in {title(place.table)}"
        return [f"{MISSING} {who}" + (f" at {setting(place.parameter, place.value)}" if place.parameter else "")]
    cell = next(iter(by_protocol.values()))
    missing = [] if cell.protocol == PROTOCOL else [f"no run under the protocol {PROTOCOL}"]
    return [*cell.differences, *missing]


def _is_at(group: Group, place: Place) -> bool:
    """Return whether runs have the row's value of the parameter that their table varies."""
    return not place.parameter or (group.parameter == place.parameter and abs(group.value - place.value) <= 1e-9)


def _papers_values(runs: pd.DataFrame) -> pd.Series:
    """Return the paper's value that each run corresponds to, in our terms; its own value if the paper prints none."""
    values = runs["value"].astype(float)
    if "paper_value" not in runs:
        return values
    papers_values = runs["paper_value"].astype(float)
    our_values = [papers_value(*pair) for pair in zip(runs["parameter"], papers_values, strict=True)]
    return pd.Series(our_values, index=runs.index).where(papers_values.notna() & (papers_values != values), values)
