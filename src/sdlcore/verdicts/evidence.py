"""What there is to judge by: the runs of tables, found by the names that the paper has for them."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sdlcore.rendering.runs import KEY
from sdlcore.rendering.tables import PAPER_ANCHORINGS, PAPER_METHODS
from sdlcore.verdicts.paper import setting
from sdlcore.verdicts.scale import DEFAULTS, SWEPT, differences, has_value, papers_value

PROTOCOL = "paper"
"""The protocol that numbers and claims are judged under."""
MISSING = "no run of"
NO_RUNS = pd.DataFrame(columns=KEY)
SHARING = tuple(table for table in SWEPT if table != "table2")
"""The tables of the bench, which have Table 1's setting in common."""


class Evidence(NamedTuple):
    """All that verdicts are made from, beside the paper's own numbers."""

    config: Mapping[str, Any]
    """A valid configuration, or its sources, methods, protocols, anchorings and figures."""
    runs: Mapping[str, pd.DataFrame]
    """Table -> its runs, as ``tableN_runs.csv`` has them: source, method, protocol, anchoring, seed, metrics.

    Where a table varies a parameter, there are ``parameter``, ``value``, ``paper_value`` (what the paper's table prints
    at the row that these runs stand beside) and ``paper_method`` too.
    """
    figure6: pd.DataFrame | None = None
    """As ``figure6.csv`` has it: variant (without, with), seed, final_loss."""


class Cell(NamedTuple):
    """The runs of one setting, one for each seed."""

    runs: pd.DataFrame
    """Indexed by seed, in order."""
    protocol: str
    differences: list[str]
    """What keeps them from the paper's scale; see `scale.differences`."""

    def values(self, metric: str) -> pd.Series:
        """Return a metric by seed; empty where any run lacks it, since a mean over some would be another quantity."""
        found = self.runs[metric].astype(float) if metric in self.runs else pd.Series(dtype=float)
        return found.iloc[:0] if found.isna().any() else found


def cells(
    evidence: Evidence, table: str, method: str, anchoring: str, parameter: str = "", value: float = float("nan")
) -> dict[str, Cell]:
    """Return our runs of a row of the paper's tables, by protocol; the one that is judged first.

    What a table was not run under, others that share the setting may have been: those are the runs that it would have.
    Of several with one setting, it is those with the most seeds, the table's own where they have as many.
    """
    found: dict[str, Cell] = {}
    for name, at in places(table, parameter, value):
        runs = _chosen(evidence.runs.get(name, NO_RUNS), method, anchoring, SWEPT[name], at)
        for label, group in runs.groupby("protocol", sort=False):
            protocol = str(label)
            if not (name == table or _shares(evidence.config, _run(group), parameter, value)):
                continue
            if protocol in found and len(group) <= len(found[protocol].runs):
                continue
            lacking = differences(evidence.config, table, _run(group), {parameter: value} if parameter else {})
            found[protocol] = Cell(group.set_index("seed").sort_index(), protocol, lacking)
    first = [PROTOCOL] if PROTOCOL in found else []
    return {protocol: found[protocol] for protocol in dict.fromkeys([*first, *found])}


def shortfall(found: Mapping[str, Cell], row: str, parameter: str = "", value: float = float("nan")) -> list[str]:
    """Return why a row of the paper cannot be judged by the cells found for it; nothing if it can."""
    if not found:
        return [f"{MISSING} {row}" + (f" at {setting(parameter, value)}" if parameter else "")]
    cell = next(iter(found.values()))
    missing = [] if cell.protocol == PROTOCOL else [f"no run under the protocol {PROTOCOL}"]
    return [*cell.differences, *missing]


def places(table: str, parameter: str, value: float) -> Iterator[tuple[str, float]]:
    """Yield the tables that a row can be read off, its own first, and the value that it has there (NaN for none)."""
    yield table, value
    if table in SHARING and (not parameter or abs(DEFAULTS[parameter] - value) <= 1e-9):
        for other in SHARING:
            if other != table:
                yield other, DEFAULTS.get(SWEPT[other], math.nan)


def _chosen(runs: pd.DataFrame, method: str, anchoring: str, parameter: str, value: float) -> pd.DataFrame:
    """Return a table's runs of one row; of the first method where several go by the paper's name."""
    # plain comparisons: this is asked some hundred times, of columns too short for pandas' to pay
    names = [PAPER_METHODS.get(name) for name in runs["method"]]
    if "paper_method" in runs:
        names = [own if isinstance(own, str) else name for own, name in zip(runs["paper_method"], names, strict=True)]
    anchorings = (PAPER_ANCHORINGS.get(name) for name in runs["anchoring"])
    right = [pair == (method, anchoring) for pair in zip(names, anchorings, strict=True)]
    if parameter and not {"parameter", "value"} <= set(runs.columns):
        return runs.iloc[:0]
    chosen = runs[np.array(right, bool)]
    if parameter and len(chosen):
        at = (chosen["parameter"] == parameter) & ((_papers_values(chosen) - value).abs() <= 1e-9)
        chosen = chosen[at]
    return chosen[chosen["method"] == chosen["method"].iloc[0]] if len(chosen) else chosen


def _papers_values(runs: pd.DataFrame) -> pd.Series:
    """Return the value of the paper's that each run stands for; its own where that is all there is."""
    own = runs["value"].astype(float)
    if "paper_value" not in runs:
        return own
    printed = runs["paper_value"].astype(float)
    meant = [papers_value(*pair) for pair in zip(runs["parameter"], printed, strict=True)]
    return pd.Series(meant, index=runs.index).where(printed.notna() & (printed != own), own)


def _shares(config: Mapping[str, Any], run: Mapping[str, Any], parameter: str, value: float) -> bool:
    """Tell whether a run of another table has what a row varies; what it only stands for there is not enough."""
    return not parameter or has_value(config, run, parameter, value)


def _run(runs: pd.DataFrame) -> dict[str, Any]:
    """Return source, method, protocol and anchoring of the first of some runs."""
    return {name: runs[name].iloc[0] for name in KEY[:-1]}
