"""What there is to judge by: the runs of tables, found by the names that the paper has for them."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pandas as pd

from sdlcore.rendering.runs import KEY
from sdlcore.rendering.tables import PAPER_ANCHORINGS, PAPER_METHODS
from sdlcore.verdicts.paper import setting
from sdlcore.verdicts.scale import DEFAULTS, differences, has_value, papers_value

PROTOCOL = "paper"
"""The protocol that numbers and claims are judged under."""
NO_RUNS = pd.DataFrame(columns=KEY)


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

    Where a table varies a parameter and was not run at a value that Table 1's runs have, those stand in: they are the
    runs that it would have had.
    """
    for name, at in places(table, parameter, value):
        runs = _chosen(evidence.runs.get(name, NO_RUNS), method, anchoring, "" if at is None else parameter, value)
        if name != table and len(runs) and not has_value(evidence.config, _run(runs), parameter, value):
            continue
        found = {}
        for protocol, group in runs.groupby("protocol", sort=False):
            lacking = differences(evidence.config, table, _run(group), {parameter: value} if parameter else {})
            found[str(protocol)] = Cell(group.set_index("seed").sort_index(), str(protocol), lacking)
        if found:
            first = [PROTOCOL] if PROTOCOL in found else []
            return {protocol: found[protocol] for protocol in dict.fromkeys([*first, *found])}
    return {}


def shortfall(found: Mapping[str, Cell], row: str, parameter: str = "", value: float = float("nan")) -> list[str]:
    """Return why a row of the paper cannot be judged by the cells found for it; nothing if it can."""
    if not found:
        return [f"no run of {row}" + (f" at {setting(parameter, value)}" if parameter else "")]
    cell = next(iter(found.values()))
    missing = [] if cell.protocol == PROTOCOL else [f"no run under the protocol {PROTOCOL}"]
    return [*cell.differences, *missing]


def places(table: str, parameter: str, value: float) -> Iterator[tuple[str, float | None]]:
    """Yield the tables that a row can be read off, and the value that it has there; None where nothing is varied."""
    yield table, value if parameter else None
    if parameter and abs(DEFAULTS[parameter] - value) <= 1e-9:
        yield "table1", None


def _chosen(runs: pd.DataFrame, method: str, anchoring: str, parameter: str, value: float) -> pd.DataFrame:
    """Return the runs of one row; of the first method where several go by the paper's name."""
    names = runs["method"].map(PAPER_METHODS)
    if "paper_method" in runs:
        names = runs["paper_method"].fillna(names)
    right = (names == method) & (runs["anchoring"].map(PAPER_ANCHORINGS) == anchoring)
    if parameter:
        if not {"parameter", "value"} <= set(runs.columns):
            return runs.iloc[:0]
        right &= (runs["parameter"] == parameter) & ((_papers_values(runs) - value).abs() <= 1e-9)
    chosen = runs[right]
    return chosen[chosen["method"] == chosen["method"].iloc[0]] if len(chosen) else chosen


def _papers_values(runs: pd.DataFrame) -> pd.Series:
    """Return the value of the paper's that each run stands for; its own where that is all there is."""
    own = runs["value"].astype(float)
    if "paper_value" not in runs:
        return own
    printed = runs["paper_value"].astype(float)
    meant = [papers_value(*pair) for pair in zip(runs["parameter"], printed, strict=True)]
    return pd.Series(meant, index=runs.index).where(printed.notna() & (printed != own), own)


def _run(runs: pd.DataFrame) -> dict[str, Any]:
    """Return source, method, protocol and anchoring of the first of some runs."""
    return {name: runs[name].iloc[0] for name in KEY[:-1]}
