"""Summarise runs over seeds in data frames, before any formatting."""

import csv
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from sdlcore import paired_interval
from sdlcore.evaluation.metric_names import Baseline, baseline_name
from sdlcore.evaluation.metrics import METRICS, Metric, declared
from sdlcore.storage.files import atomic_path
from sdlstudy.results.runs import KEY

CLASSES = ("class", "reference")
"""Columns with names of classes."""

# functions instead of constants, because plugins add metrics


def table_metrics() -> list[str]:
    """Return the metrics that tables over seeds summarise."""
    return [metric.name for metric in METRICS.values() if metric.in_tables]


def further_recovery(runs: pd.DataFrame) -> list[str]:
    """Return the recovery metrics of runs at the threshold ``tau`` of a configuration."""
    metrics = {name: declared(name) for name in runs.columns if name not in METRICS}
    return [name for name, metric in metrics.items() if metric is not None and metric.matched and metric.in_tables]


def chance_metrics() -> list[str]:
    """Return the names of the metrics that tables show beside the score of random directions (the chance level)."""
    return [metric.name for metric in METRICS.values() if metric.chance]


def effect_metrics() -> list[str]:
    """Return the metrics that anchoring may change, grouped by symbol, with the decoder before the encoder."""
    symbols = list(dict.fromkeys(metric.symbol for metric in METRICS.values()))

    def place(metric: Metric) -> tuple[int, str]:
        return symbols.index(metric.symbol), metric.matched.side if metric.matched else ""

    return [metric.name for metric in sorted(METRICS.values(), key=place) if metric.effect]


def table_columns(further: Sequence[str] = ()) -> list[str]:
    """Return the columns of a table over seeds; ``further`` are metrics beside `table_metrics`."""
    return [
        "method",
        "anchoring",
        "protocol",
        "seeds",
        *(f"{name}_{part}" for name in (*table_metrics(), *further) for part in ("mean", "std")),
        *(f"{baseline_name(Baseline.CHANCE, name)}_mean" for name in chance_metrics()),
        "paper_gt_recovery",
        "paper_mip",
        "paper_l0",
    ]


SWEEP_COLUMNS = ["parameter", "value", "paper_value"]
"""The swept parameter, its value, and the value of the paper's table shown beside it; empty if nothing is swept."""
EFFECT_COLUMNS = [
    "method",
    "anchoring",
    "protocol",
    "metric",
    "seeds",
    "difference_mean",
    "difference_low",
    "difference_high",
]

# Our names of methods and of anchorings -> the names in the paper's tables.
PAPER_METHODS = {
    "relu": "ReLU SAE",
    "jumprelu": "JumpReLU SAE",
    "topk": "TopK SAE",
    "batchtopk": "BatchTopK SAE",
    "matryoshka": "Matryoshka SAE",
    "transcoder": "Transcoder",
    "crosscoder": "Crosscoder",
}
PAPER_ANCHORINGS = {
    "none": "none",
    "ground_truth": "anchored",
    "ground_truth_30": "anchored",
    "class_means": "anchored",
}

LEVEL = 0.95
"""Confidence level of intervals over seeds."""

_PAPER_NUMBERS = ["gt_recovery_percent", "mip", "l0"]


def read_paper(numbers: pd.DataFrame, table: str) -> pd.DataFrame:
    """Return the numbers of one of the paper's tables, a row for each method x anchoring (x value).

    Parameters
    ----------
    numbers
        The paper's numbers, ``resources/paper/numbers.csv``.
    table
        Such as ``table1``.

    Returns
    -------
    DataFrame
        Columns method, anchoring, value, gt_recovery_percent, mip, l0. ``value`` is the parameter that the table
        varies, NaN if it varies none; ``l0`` is NaN for tables without it.
    """
    printed = numbers[numbers["table"] == table]
    keys = ["method", "anchoring", "value"]
    rows = [
        dict(zip(keys, key, strict=True)) | dict(zip(group["number"], group["paper"], strict=True))
        for key, group in printed.groupby(keys, sort=False, dropna=False)
    ]
    return pd.DataFrame(rows, columns=[*keys, *_PAPER_NUMBERS])


def no_paper() -> pd.DataFrame:
    """Return an empty frame with the columns of `read_paper`, for tables that are not in the paper."""
    return pd.DataFrame(columns=["method", "anchoring", "value", *_PAPER_NUMBERS])


class Point(NamedTuple):
    """One value of a table's sweep, and the variants of the table's source and methods that have it."""

    value: float | None
    """The value of the swept parameter; None if the table sweeps none."""
    paper_value: float | None
    """The value of the paper's table whose numbers are shown beside ours."""
    source: str
    """The source of the runs: the table's, or its variant with the value."""
    methods: dict[str, str]
    """Method or null baseline of the table -> the method of the runs, which may be a variant."""


class Layout(NamedTuple):
    """The rows of a table, in order: points, methods, null baselines, anchorings, protocols and seeds."""

    parameter: str | None
    points: list[Point]
    methods: list[str]
    nulls: list[tuple[str, str]]
    """Null baselines, each with a protocol. They run only without anchors."""
    anchorings: list[str]
    protocols: list[str]
    seeds: list[int]

    def is_null(self, method: str) -> bool:
        """Return whether a method is a null baseline."""
        return any(method == null for null, _ in self.nulls)


def table_over(runs: pd.DataFrame, paper: pd.DataFrame, layout: Layout) -> pd.DataFrame:
    """Summarise runs over seeds at each point of a sweep, with the paper's numbers beside ours.

    Parameters
    ----------
    runs
        As `runs.read_runs` returns them.
    paper
        As `read_paper` returns it.
    layout
        The rows of the table.

    Returns
    -------
    DataFrame
        One row for each point x method x anchoring x protocol, then one for each null baseline, with the columns
        `SWEEP_COLUMNS` and `table_columns`. Methods are called by the table's names, not by the names of variants.
        Shares are fractions, not percentages. The standard deviation has ddof=1 and is NaN for one seed. Mean and
        standard deviation are NaN if a seed lacks the value, since a mean over some of the seeds would be another
        quantity. The paper's numbers are NaN for null baselines, and for methods or anchorings that the paper's table
        lacks.
    """
    further, rows = further_recovery(runs), []
    places = [*product(layout.methods, layout.anchorings, layout.protocols)]
    places += [(null, "none", protocol) for null, protocol in layout.nulls]
    for point, chosen in _by_point(runs, layout):
        printed = paper[paper["value"].isna() if point.paper_value is None else paper["value"] == point.paper_value]
        numbers = {(row.method, row.anchoring): row for row in printed.itertuples(index=False)}
        for method, anchoring, protocol in places:
            cell = _cell(chosen, method, anchoring, protocol)
            row = _place(layout, point)
            row |= {"method": method, "anchoring": anchoring, "protocol": protocol, "seeds": len(cell)}
            for name in (*table_metrics(), *further):
                values = _values(cell, name)
                row[f"{name}_mean"] = values.mean()
                row[f"{name}_std"] = values.std(ddof=1) if len(values) > 1 else np.nan
            levels = [baseline_name(Baseline.CHANCE, name) for name in chance_metrics()]
            row |= {f"{name}_mean": _values(cell, name).mean() for name in levels}
            papers: Any = numbers.get((PAPER_METHODS.get(method), PAPER_ANCHORINGS.get(anchoring)))
            if papers is not None and method in layout.methods:
                # rounding removes the floating-point error of the division, so that 87.63 becomes .8763
                row["paper_gt_recovery"] = round(papers.gt_recovery_percent / 100, 8)
                row["paper_mip"], row["paper_l0"] = papers.mip, papers.l0
            rows.append(row)
    return pd.DataFrame(rows, columns=[*SWEEP_COLUMNS, *table_columns(further)])


def effects_over(runs: pd.DataFrame, layout: Layout) -> pd.DataFrame:
    """Return the effect of anchoring on metrics at each point: anchored minus unanchored runs, paired by seed.

    Returns
    -------
    DataFrame
        One row for each point x method x anchoring x protocol x metric of `effect_metrics`, with the columns
        `SWEEP_COLUMNS` and `EFFECT_COLUMNS`: the mean difference and its 95 % t interval, which is NaN below 3 seeds.
        Empty if no run is anchored, or if all runs are. Null baselines are left out: they run only without anchors.
    """
    anchored = [name for name in layout.anchorings if name != "none"] if "none" in layout.anchorings else []
    rows: list[tuple[Any, ...]] = []
    for point, chosen in _by_point(runs, layout):
        for method, anchoring, protocol in product(layout.methods, anchored, layout.protocols):
            with_, without = (_cell(chosen, method, name, protocol) for name in (anchoring, "none"))
            for name in effect_metrics():
                interval = paired_interval(_values(with_, name) - _values(without, name))
                place = (*_place(layout, point).values(), method, anchoring, protocol, name)
                rows.append((*place, len(with_), *interval))
    return pd.DataFrame(rows, columns=[*SWEEP_COLUMNS, *EFFECT_COLUMNS])


def runs_over(runs: pd.DataFrame, layout: Layout) -> pd.DataFrame:
    """Return the runs of a table under their own names, each with its point and the paper's name of its method.

    The columns are `KEY`, ``paper_method`` (empty for null baselines and methods that the paper lacks),
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


def _place(layout: Layout, point: Point) -> dict[str, Any]:
    return dict(zip(SWEEP_COLUMNS, (layout.parameter, point.value, point.paper_value), strict=True))


def _by_point(runs: pd.DataFrame, layout: Layout) -> Iterator[tuple[Point, pd.DataFrame]]:
    """Yield each point with its runs, whose methods get the table's names instead of the names of variants."""
    for point in layout.points:
        names = {variant: method for method, variant in point.methods.items()}
        at_point = runs[(runs["source"] == point.source) & runs["method"].isin(list(names))]
        yield point, at_point.assign(method=at_point["method"].map(names))


def _cell(runs: pd.DataFrame, method: str, anchoring: str, protocol: str) -> pd.DataFrame:
    """Return the runs of one row of the table, sorted by seed."""
    chosen = (runs["method"] == method) & (runs["anchoring"] == anchoring) & (runs["protocol"] == protocol)
    return runs[chosen].sort_values("seed")


def _values(cell: pd.DataFrame, name: str) -> np.ndarray:
    """Return a metric of each run (float64); NaN for runs that lack it."""
    return cell[name].to_numpy(float) if name in cell else np.full(len(cell), np.nan)


def write_csv(path: str | Path, frame: pd.DataFrame) -> None:
    """Write a frame as CSV, whole or not at all; NaN becomes an empty field.

    Texts are written unchanged, even if a spreadsheet would take them for formulas, so that other programs find the
    original names of the data.
    """
    # the csv module does not quote carriage returns if lines end in a line feed, but readers end a line at them
    has_returns = any("\r" in text for name in frame for text in frame[name] if isinstance(text, str))
    with atomic_path(path) as part:
        quoting: Literal[0, 2] = csv.QUOTE_NONNUMERIC if has_returns else csv.QUOTE_MINIMAL
        frame.to_csv(part, index=False, lineterminator="\n", quoting=quoting)


def read_csv(path: str | Path) -> pd.DataFrame:
    """Read a CSV file that `write_csv` wrote.

    Only an empty field becomes NaN, so that the anchoring "none" stays a name. Names of classes, such as 007, stay
    texts.
    """
    return pd.read_csv(path, keep_default_na=False, na_values=[""], dtype=dict.fromkeys(CLASSES, str))
