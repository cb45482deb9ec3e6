"""Summarise runs at each point of a sweep, beside the paper's numbers."""

from collections.abc import Iterator

import pandas as pd

from sdlstudy.rendering.layout import Layout, Point
from sdlstudy.results.runs import KEY, RunsError
from sdlstudy.results.tables import (
    EFFECT_COLUMNS,
    PAPER_METHODS,
    anchoring_effect,
    further_recovery,
    table1,
    table_columns,
)

SWEEP_COLUMNS = ["parameter", "value", "paper_value"]
"""The swept parameter, its value, and the value of the paper's table shown beside it; empty if nothing is swept."""


def table_over(runs: pd.DataFrame, paper: pd.DataFrame, layout: Layout) -> pd.DataFrame:
    """Summarise runs over seeds at each point of a sweep, with the paper's numbers beside ours.

    Parameters
    ----------
    runs
        As `runs.read_runs` returns them.
    paper
        As `tables.read_paper` returns it.
    layout
        The rows of the table.

    Returns
    -------
    DataFrame
        The rows of `tables.table1` for each point, with the columns `SWEEP_COLUMNS` before the others. Methods are
        called by the table's names, not by the names of variants.

    Raises
    ------
    RunsError
        If runs are missing or doubled, or do not belong to the table.
    """
    rows = []
    for point, chosen in _by_point(runs, layout):
        published = paper[paper["value"].isna() if point.paper_value is None else paper["value"] == point.paper_value]
        part = table1(
            chosen, published, layout.methods, layout.anchorings, layout.protocols, layout.seeds, layout.nulls
        )
        rows += [_place(layout, point) | row for row in part.to_dict("records")]
    return pd.DataFrame(rows, columns=[*SWEEP_COLUMNS, *table_columns(further_recovery(runs))])


def effects_over(runs: pd.DataFrame, layout: Layout) -> pd.DataFrame:
    """Return the effect of anchoring at each point: `SWEEP_COLUMNS`, then the columns of `tables.anchoring_effect`.

    Null baselines are left out, since they run only without anchors.
    """
    rows = [
        _place(layout, point) | row
        for point, chosen in _by_point(runs, layout)
        for row in anchoring_effect(chosen[~chosen["method"].map(layout.is_null)]).to_dict("records")
    ]
    return pd.DataFrame(rows, columns=[*SWEEP_COLUMNS, *EFFECT_COLUMNS])


def runs_over(runs: pd.DataFrame, layout: Layout) -> pd.DataFrame:
    """Return the runs of a table under their own names, each with its point and the paper's name of its method.

    The columns are `runs.KEY`, ``paper_method`` (empty for null baselines and methods that the paper lacks),
    `SWEEP_COLUMNS`, then every metric.
    """
    columns_of = {}
    for point in layout.points:
        for method, variant in point.methods.items():
            named = None if layout.is_null(method) else PAPER_METHODS.get(method)
            columns_of[point.source, variant] = {"paper_method": named, **_place(layout, point)}
    places = [columns_of[source, method] for source, method in zip(runs["source"], runs["method"], strict=True)]
    columns = pd.DataFrame(places, index=runs.index, columns=["paper_method", *SWEEP_COLUMNS])
    return pd.concat([runs[KEY], columns, runs.drop(columns=KEY)], axis=1)


def _place(layout: Layout, point: Point) -> dict[str, str | float | None]:
    return dict(zip(SWEEP_COLUMNS, (layout.parameter, point.value, point.paper_value), strict=True))


def _by_point(runs: pd.DataFrame, layout: Layout) -> Iterator[tuple[Point, pd.DataFrame]]:
    """Yield each point with its runs, whose methods get the table's names instead of the names of variants."""
    unassigned = pd.Series(True, index=runs.index)
    for point in layout.points:
        names = {variant: method for method, variant in point.methods.items()}
        at_point = (runs["source"] == point.source) & runs["method"].isin(list(names))
        unassigned &= ~at_point
        if not at_point.any():
            raise RunsError(
                f"no run with {layout.parameter} = {point.value} was given, expected runs on source {point.source} "
                f"with method {' or '.join(names)}"
            )
        yield point, runs[at_point].assign(method=runs.loc[at_point, "method"].map(names))
    if unassigned.any():
        source, method = runs.loc[unassigned, ["source", "method"]].iloc[0]
        raise RunsError(f"a run on source {source} with method {method} does not belong to this table")
