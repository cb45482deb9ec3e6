"""Summarise runs over seeds in data frames, before any formatting."""

import csv
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from sdlcore import paired_interval
from sdlcore.evaluation.metric_names import Baseline, baseline_name
from sdlcore.evaluation.metrics import METRICS, Metric, declared
from sdlcore.storage.files import atomic_path
from sdlstudy.results.runs import check_runs

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


def table1(
    runs: pd.DataFrame,
    paper: pd.DataFrame,
    methods: Sequence[str] | None = None,
    anchorings: Sequence[str] | None = None,
    protocols: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    nulls: Sequence[tuple[str, str]] = (),
) -> pd.DataFrame:
    """Summarise runs over seeds, with the paper's numbers beside ours.

    Parameters
    ----------
    runs
        As `runs.read_runs` returns them.
    paper
        As `read_paper` returns it.
    methods, anchorings, protocols, seeds, nulls
        The rows of the table, in order; see `runs.check_runs`.

    Returns
    -------
    DataFrame
        One row for each method x anchoring x protocol, then one for each null baseline, with the columns
        `table_columns`. Shares are fractions, not percentages. The standard deviation has ddof=1 and is NaN for one
        seed. Mean and standard deviation are NaN if a seed lacks the value, since a mean over some of the seeds would
        be another quantity. The paper's numbers are NaN for null baselines, and for methods or anchorings that the
        paper's table lacks.

    Raises
    ------
    RunsError
        If runs are missing, doubled or disagree on the seeds.
    """
    axes = check_runs(runs, methods, anchorings, protocols, seeds, nulls)
    published = {(row.method, row.anchoring): row for row in paper.itertuples(index=False)}
    further = further_recovery(runs)
    places = list(product(axes["method"], axes["anchoring"], axes["protocol"]))
    rows = []
    for method, anchoring, protocol in [*places, *((null, "none", protocol) for null, protocol in nulls)]:
        cell = _cell(runs, method, anchoring, protocol)
        row: dict[str, str | float] = {
            "method": method,
            "anchoring": anchoring,
            "protocol": protocol,
            "seeds": len(cell),
        }
        for name in (*table_metrics(), *further):
            values = _values(cell, name)
            row[f"{name}_mean"] = values.mean()
            row[f"{name}_std"] = values.std(ddof=1) if len(values) > 1 else np.nan
        levels = [baseline_name(Baseline.CHANCE, name) for name in chance_metrics()]
        row |= {f"{name}_mean": _values(cell, name).mean() for name in levels}
        numbers: Any = published.get((PAPER_METHODS.get(method), PAPER_ANCHORINGS.get(anchoring)))
        if numbers is not None and method in axes["method"]:
            # rounding removes the floating-point error of the division, so that 87.63 becomes .8763
            row["paper_gt_recovery"] = round(numbers.gt_recovery_percent / 100, 8)
            row["paper_mip"], row["paper_l0"] = numbers.mip, numbers.l0
        rows.append(row)
    return pd.DataFrame(rows, columns=table_columns(further))


def _cell(runs: pd.DataFrame, method: str, anchoring: str, protocol: str) -> pd.DataFrame:
    """Return the runs of one row of the table, sorted by seed."""
    chosen = (runs["method"] == method) & (runs["anchoring"] == anchoring) & (runs["protocol"] == protocol)
    return runs[chosen].sort_values("seed")


def _values(cell: pd.DataFrame, name: str) -> np.ndarray:
    """Return a metric of each run (float64); NaN for runs that lack it."""
    return cell[name].to_numpy(float) if name in cell else np.full(len(cell), np.nan)


def anchoring_effect(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the effect of anchoring on metrics: anchored minus unanchored runs, paired by seed.

    Returns
    -------
    DataFrame
        One row for each method x anchoring x protocol x metric of `effect_metrics`, with the columns `EFFECT_COLUMNS`:
        the mean difference and its 95 % t interval, which is NaN below 3 seeds. Empty if no run is anchored, or if all
        runs are.

    Raises
    ------
    RunsError
        If runs are missing, doubled or disagree on the seeds.
    """
    axes = check_runs(runs)
    anchored = [name for name in axes["anchoring"] if name != "none"] if "none" in axes["anchoring"] else []
    rows: list[tuple[Any, ...]] = []
    for method, anchoring, protocol in product(axes["method"], anchored, axes["protocol"]):
        with_, without = _cell(runs, method, anchoring, protocol), _cell(runs, method, "none", protocol)
        for name in effect_metrics():
            interval = paired_interval(_values(with_, name) - _values(without, name))
            rows.append((method, anchoring, protocol, name, len(with_), *interval))
    return pd.DataFrame(rows, columns=EFFECT_COLUMNS)


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
