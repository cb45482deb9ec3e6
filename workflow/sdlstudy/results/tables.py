"""Summarise runs over seeds in data frames, before any formatting."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from sdlcore import paired_interval
from sdlcore.evaluation.metrics import METRICS, RECOVERY, Metric
from sdlcore.storage.files import atomic_path
from sdlstudy.results.runs import KEY

CLASSES = ("class", "reference")
"""Columns with names of classes."""

# functions instead of constants, because plugins add metrics


def table_metrics() -> list[str]:
    """Return the metrics that tables over seeds summarise."""
    return [metric.name for metric in METRICS.values() if metric.in_tables]


def chance_metrics() -> list[str]:
    """Return the names of the metrics that tables show beside the score of random directions (the chance level)."""
    return [metric.name for metric in METRICS.values() if metric.chance]


def effect_metrics() -> list[str]:
    """Return the metrics that anchoring may change, grouped by symbol, with the decoder before the encoder."""
    symbols = list(dict.fromkeys(metric.symbol for metric in METRICS.values()))

    def place(metric: Metric) -> tuple[int, str]:
        parts = RECOVERY.fullmatch(metric.name)
        return symbols.index(metric.symbol), parts["side"] if parts else ""

    return [metric.name for metric in sorted(METRICS.values(), key=place) if metric.effect]


def table_columns() -> list[str]:
    """Return the columns of a table over seeds."""
    return [
        "method",
        "anchoring",
        "protocol",
        "seeds",
        *(f"{name}_{part}" for name in table_metrics() for part in ("mean", "std")),
        *(f"chance_{name}_mean" for name in chance_metrics()),
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

Paper = Mapping[tuple[str, str, float | None], Mapping[str, float]]
"""Method, anchoring and value of the varied parameter in the paper's table -> its numbers by name."""


def read_paper(numbers: pd.DataFrame, table: str) -> Paper:
    """Return the numbers of one of the paper's tables, such as ``table1``, from ``resources/paper/numbers.csv``."""
    paper: dict[tuple[str, str, float | None], dict[str, float]] = {}
    for row in numbers[numbers["table"] == table].to_dict("records"):
        value = None if pd.isna(row["value"]) else row["value"]
        paper.setdefault((row["method"], row["anchoring"], value), {})[row["number"]] = row["paper"]
    return paper


class Point(NamedTuple):
    """One value of a table's sweep, and the variants of the table's source and methods that have it."""

    value: float | None
    """The value of the swept parameter; None if the table sweeps none."""
    paper_value: float | None
    """The value of the paper's table whose numbers are shown beside it."""
    source: str
    """The source of the runs: the table's, or its variant with the value."""
    methods: dict[str, str]
    """Method or null baseline of the table -> the method of the runs, which may be a variant."""


def runs_over(
    runs: pd.DataFrame, points: Sequence[Point], parameter: str | None = None, nulls: Sequence[str] = ()
) -> pd.DataFrame:
    """Return the runs of a table, as `runs.read_runs` does, with their places in it.

    The columns are `KEY`, ``paper_method`` (the paper's name of the method; empty for null baselines and methods that
    the paper lacks), `SWEEP_COLUMNS`, every metric, and ``row`` (the method's name in the table, without the value).
    """
    places = {}
    for point in points:
        for method, variant in point.methods.items():
            named = None if method in nulls else PAPER_METHODS.get(method)
            places[point.source, variant] = named, parameter, point.value, point.paper_value, method
    of_runs = [places[source, method] for source, method in zip(runs["source"], runs["method"], strict=True)]
    columns = pd.DataFrame(of_runs, index=runs.index, columns=["paper_method", *SWEEP_COLUMNS, "row"])
    return pd.concat([runs[KEY], columns.drop(columns="row"), runs.drop(columns=KEY), columns["row"]], axis=1)


def table_over(runs: pd.DataFrame, paper: Paper) -> pd.DataFrame:
    """Summarise the runs of a table (`runs_over`) over seeds, with the paper's numbers beside ours.

    Returns
    -------
    DataFrame
        One row for each point x method x anchoring x protocol, null baselines last, with the columns `SWEEP_COLUMNS`
        and `table_columns`. Methods are called by the table's names, not by the names of variants. Shares are
        fractions, not percentages. The standard deviation has ddof=1 and is NaN for one seed. Mean and standard
        deviation are NaN if a seed lacks the value, since a mean over some of the seeds would be another quantity. The
        paper's numbers are NaN for null baselines, and for methods or anchorings that the paper's table lacks.
    """
    rows = []
    for place, cell in _cells(runs):
        row = {**place, "seeds": len(cell)}
        for name in table_metrics():
            values = _values(cell, name)
            row[f"{name}_mean"] = values.mean()
            row[f"{name}_std"] = values.std(ddof=1) if len(values) > 1 else np.nan
        levels = [f"chance_{name}" for name in chance_metrics()]
        row |= {f"{name}_mean": _values(cell, name).mean() for name in levels}
        printed = None if pd.isna(place["paper_value"]) else place["paper_value"]
        papers = paper.get((cell["paper_method"].iloc[0], PAPER_ANCHORINGS.get(place["anchoring"], ""), printed))
        if papers is not None:
            # rounding removes the floating-point error of the division, so that 87.63 becomes .8763
            row["paper_gt_recovery"] = round(papers["gt_recovery_percent"] / 100, 8)
            row["paper_mip"], row["paper_l0"] = papers["mip"], papers.get("l0", np.nan)
        rows.append(row)
    return pd.DataFrame(rows, columns=[*SWEEP_COLUMNS, *table_columns()])


def effects_over(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the effect of anchoring in the runs of a table: anchored minus unanchored runs, paired by seed.

    Returns
    -------
    DataFrame
        One row for each point x method x anchoring x protocol x metric of `effect_metrics`, with the columns
        `SWEEP_COLUMNS` and `EFFECT_COLUMNS`: the mean difference and its 95 % t interval, which is NaN below 3 seeds.
        Empty if no run is anchored, or if all runs are. Null baselines are left out: they run only without anchors.
    """
    cells, rows = list(_cells(runs)), []
    plain = {tuple(place.values()): cell for place, cell in cells}
    for place, with_ in cells:
        without = plain.get(tuple((place | {"anchoring": "none"}).values()))
        if place["anchoring"] != "none" and without is not None:
            for name in effect_metrics():
                interval = paired_interval(_values(with_, name) - _values(without, name))
                rows.append((*place.values(), name, len(with_), *interval))
    return pd.DataFrame(rows, columns=[*SWEEP_COLUMNS, *EFFECT_COLUMNS])


def _cells(runs: pd.DataFrame) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """Yield the key of each row of a table with its runs by seed; a part that appears first in the runs comes first."""
    keys = ["value", "row", "anchoring", "protocol"]
    ordered = runs.sort_values(keys, key=lambda column: pd.factorize(column, use_na_sentinel=False)[0], kind="stable")
    for _, cell in ordered.groupby(keys, sort=False, dropna=False):
        first = cell.iloc[0]
        names = {"method": first["row"], "anchoring": first["anchoring"], "protocol": first["protocol"]}
        yield {name: first[name] for name in SWEEP_COLUMNS} | names, cell.sort_values("seed")


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
