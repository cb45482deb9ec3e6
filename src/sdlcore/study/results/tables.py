"""Summarise runs over seeds: data frames out of metrics files, before any formatting."""

import csv
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import scipy.special

from sdlcore.pipeline import METRICS, Baseline, Metric, atomic_path, baseline_name
from sdlcore.study.results.runs import RunsError, check_runs

CLASSES = ("class", "reference")
"""Columns that hold names of classes."""

# by functions, since plugins add metrics


def table_metrics() -> list[str]:
    """Return the metrics that tables over seeds summarise."""
    return [metric.name for metric in METRICS.values() if metric.in_tables]


def chance_metrics() -> list[str]:
    """Return the metrics that have the level of random directions beside them."""
    return [metric.name for metric in METRICS.values() if metric.chance]


def effect_metrics() -> list[str]:
    """Return the metrics that anchoring may change, by what they measure, then the decoder's before the encoder's."""
    symbols = list(dict.fromkeys(metric.symbol for metric in METRICS.values()))

    def place(metric: Metric) -> tuple[int, str]:
        return symbols.index(metric.symbol), metric.matched.side if metric.matched else ""

    return [metric.name for metric in sorted(METRICS.values(), key=place) if metric.effect]


def table_columns() -> list[str]:
    """Return the columns of a table over seeds."""
    return [
        "method",
        "anchoring",
        "protocol",
        "seeds",
        *(f"{name}_{part}" for name in table_metrics() for part in ("mean", "std")),
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

# Names of the seven methods in the paper's tables, and of its two ways of training.
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
"""Of intervals over seeds."""

_PAPER_COLUMNS = ["method", "anchoring", "gt_recovery_percent", "mip", "l0"]


def read_paper(path: str | Path) -> pd.DataFrame:
    """Read the paper's own numbers.

    Returns
    -------
    DataFrame
        Columns method, anchoring, value, gt_recovery_percent, mip, l0. The value is that of the one column more which
        files of the paper's sweeps have, whatever its name; NaN for other files, as is the L0 that those lack.

    Raises
    ------
    RunsError
        If a column is missing, more than one is left over, or a method x anchoring (x value) is doubled.
    """
    paper = read_csv(path)
    swept = [name for name in paper.columns if name not in _PAPER_COLUMNS]
    if len(swept) > 1:
        raise RunsError(f"{path}: columns {', '.join(swept)}, expected at most one beside {', '.join(_PAPER_COLUMNS)}")
    for column in _PAPER_COLUMNS[: None if not swept else -1]:
        if column not in paper:
            raise RunsError(f"{path}: column {column} is missing, expected the paper's table")
    paper = paper.assign(value=paper[swept[0]] if swept else np.nan)
    if paper.duplicated(["method", "anchoring", "value"]).any():
        raise RunsError(f"{path}: a method and anchoring is doubled, expected each once")
    return paper.reindex(columns=["method", "anchoring", "value", *_PAPER_COLUMNS[2:]])


def no_paper() -> pd.DataFrame:
    """Return what `read_paper` would of a table that the paper has not."""
    return pd.DataFrame(columns=["method", "anchoring", "value", *_PAPER_COLUMNS[2:]])


def table1(
    runs: pd.DataFrame,
    paper: pd.DataFrame,
    methods: Sequence[str] | None = None,
    anchorings: Sequence[str] | None = None,
    protocols: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    nulls: Sequence[tuple[str, str]] = (),
) -> pd.DataFrame:
    """Summarise runs over seeds, the paper's numbers beside ours.

    Parameters
    ----------
    runs
        As `runs.read_runs` returns them.
    paper
        As `read_paper` returns it.
    methods, anchorings, protocols, seeds, nulls
        What the table consists of, in its order; see `runs.check_runs`.

    Returns
    -------
    DataFrame
        One row a method x anchoring x protocol, then one a null baseline, with the columns
        `table_columns`. Everything is a fraction except L0. The standard deviation has ddof=1 and is NaN for
        one seed; mean and standard deviation are NaN where a seed has no value (a mean over some of the seeds
        would be another quantity). The paper's numbers are NaN for methods or anchorings that the paper's table
        lacks, and for null baselines.

    Raises
    ------
    RunsError
        If runs are missing, doubled or disagree on the seeds.
    """
    axes = check_runs(runs, methods, anchorings, protocols, seeds, nulls)
    published = {(row.method, row.anchoring): row for row in paper.itertuples(index=False)}
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
        for name in table_metrics():
            values = _values(cell, name)
            row[f"{name}_mean"] = values.mean()
            row[f"{name}_std"] = values.std(ddof=1) if len(values) > 1 else np.nan
        levels = [baseline_name(Baseline.CHANCE, name) for name in chance_metrics()]
        row |= {f"{name}_mean": _values(cell, name).mean() for name in levels}
        numbers: Any = published.get((PAPER_METHODS.get(method), PAPER_ANCHORINGS.get(anchoring)))
        if numbers is not None and method in axes["method"]:
            # rounding undoes the binary dust of the division: 87.63 is .8763
            row["paper_gt_recovery"] = round(numbers.gt_recovery_percent / 100, 8)
            row["paper_mip"], row["paper_l0"] = numbers.mip, numbers.l0
        rows.append(row)
    return pd.DataFrame(rows, columns=table_columns())


def _cell(runs: pd.DataFrame, method: str, anchoring: str, protocol: str) -> pd.DataFrame:
    """Return the runs of one row of the table, by seed."""
    chosen = (runs["method"] == method) & (runs["anchoring"] == anchoring) & (runs["protocol"] == protocol)
    return runs[chosen].sort_values("seed")


def _values(cell: pd.DataFrame, name: str) -> np.ndarray:
    """Return a metric of each run (float64), NaN where a run or all runs lack it."""
    return cell[name].to_numpy(float) if name in cell else np.full(len(cell), np.nan)


def paired_interval(differences: np.ndarray) -> tuple[float, float, float]:
    """Return mean and 95 % t interval of paired differences; the interval is NaN below 3 pairs."""
    differences = np.asarray(differences, float)
    mean = float(differences.mean())
    if len(differences) < 3:
        return mean, float("nan"), float("nan")
    error = differences.std(ddof=1) / np.sqrt(len(differences))
    reach = float(scipy.special.stdtrit(len(differences) - 1, (1 + LEVEL) / 2) * error)
    return mean, mean - reach, mean + reach


def anchoring_effect(runs: pd.DataFrame) -> pd.DataFrame:
    """Say what anchoring changes: anchored minus unanchored, paired by seed.

    Returns
    -------
    DataFrame
        One row a method x anchoring x protocol x metric of `effect_metrics`, with the columns
        `EFFECT_COLUMNS`: the mean difference and its 95 % t interval, which is NaN below 3 seeds. Empty
        where nothing is anchored, or nothing is not.

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

    Texts are written as they are, also those that a spreadsheet takes for formulas: another program that reads the file
    must find the names of the data.
    """
    # csv leaves a carriage return unquoted where lines end otherwise, and readers end a line there
    has_returns = any("\r" in text for name in frame for text in frame[name] if isinstance(text, str))
    with atomic_path(path) as part:
        quoting: Literal[0, 2] = csv.QUOTE_NONNUMERIC if has_returns else csv.QUOTE_MINIMAL
        frame.to_csv(part, index=False, lineterminator="\n", quoting=quoting)


def read_csv(path: str | Path) -> pd.DataFrame:
    """Read what `write_csv` wrote; only an empty field is NaN, so that the anchoring "none" stays a name.

    Names of classes stay texts, such as 007.
    """
    return pd.read_csv(path, keep_default_na=False, na_values=[""], dtype=dict.fromkeys(CLASSES, str))
