"""Format tables of runs on benches: means, intervals over seeds, and costs, a row for each bench and method."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pandas as pd

from sdlcore import paired_interval
from sdlcore.evaluation.metrics import METRICS
from sdlstudy.rendering.labels import label_method
from sdlstudy.rendering.markup import number
from sdlstudy.rendering.solvers_table import last_row, latents_of
from sdlstudy.rendering.text_table import TextTable

COSTS = {"latents": 0, "samples": 0, "seconds": 1}
"""Column of `costs` -> decimals of its mean."""


def bench_text(columns: Mapping[str, str], caption: str, table: pd.DataFrame, finer: Iterable[str] = ()) -> TextTable:
    """Return a printed table of means over seeds, one row for each source and method.

    If a metric is missing for one of the seeds, its cell is a dash.

    Parameters
    ----------
    columns
        The metrics to print, each with the head of its column.
    caption
        Caption of the table.
    table
        The runs, one row each: source, method, seed and the metrics.
    finer
        Metrics to print with one decimal more than `Metric.digits`.
    """
    digits = {metric: METRICS[metric].digits + (metric in finer) for metric in columns}

    def means(runs: pd.DataFrame) -> list[str]:
        return [number(float(runs[metric].mean(skipna=False)), digits[metric]) for metric in columns]

    return text_by_method(columns.values(), caption, table, means)


def text_by_method(
    heads: Iterable[str], caption: str, table: pd.DataFrame, cells: Callable[[pd.DataFrame], list[str]]
) -> TextTable:
    """Return a table with one row for each source and method.

    A row begins with source, method and number of seeds; the cells under ``heads`` are what ``cells`` returns for the
    runs of the row.
    """
    rows = [
        [str(source), label_method(str(method)), str(len(runs)), *cells(runs)]
        for (source, method), runs in table.groupby(["source", "method"], sort=False)
    ]
    return TextTable(caption, pd.DataFrame(rows, columns=["source", "method", "seeds", *heads]), 2)


def costs(folders: Iterable[str | Path]) -> pd.DataFrame:
    """Return the costs of runs, one row each: ``latents`` (for a solver: atoms), ``samples`` used, and ``seconds``.

    Raises
    ------
    RunsError
        If a history or the settings of a run are unreadable.
    """
    rows = []
    for folder in map(Path, folders):
        last = last_row(folder)
        rows.append((last.get("atoms", latents_of(folder)), last["samples"], last["seconds"]))
    return pd.DataFrame(rows, columns=list(COSTS))


def interval_text(columns: Mapping[str, str], caption: str, table: pd.DataFrame) -> TextTable:
    """Return a table of means over seeds ± half the width of their 95 % t intervals, then means of costs.

    Parameters are the same as for `bench_text`; ``table`` also needs the columns `COSTS`. Columns that are not
    metrics get three decimals.
    """

    def cells(runs: pd.DataFrame) -> list[str]:
        texts = []
        for metric in columns:
            mean, _, high = paired_interval(runs[metric].to_numpy())
            digits = METRICS[metric].digits if metric in METRICS else 3
            texts.append(number(mean, digits) + ("" if pd.isna(high) else f" ± {number(high - mean, digits)}"))
        return texts + [number(float(runs[name].mean()), digits) for name, digits in COSTS.items()]

    return text_by_method([*columns.values(), *COSTS], caption, table, cells)
