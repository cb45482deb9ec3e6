"""Format tables of runs on benches, a row for each bench and method."""

from collections.abc import Callable, Iterable, Mapping

import pandas as pd

from sdlcore.evaluation.metrics import METRICS
from sdlcore.study.rendering.markup import label_method, number
from sdlcore.study.rendering.text_table import TextTable


def bench_table(metrics: Iterable[str], runs: pd.DataFrame) -> pd.DataFrame:
    """Return one row a run.

    Parameters
    ----------
    metrics
        Those that are shown.
    runs
        As `runs.read_runs` returns them.

    Returns
    -------
    DataFrame
        source, method, seed and the metrics; NaN for what a run lacks, as runs of an earlier version do.
    """
    return runs.reindex(columns=["source", "method", "seed", *metrics])


def bench_text(columns: Mapping[str, str], caption: str, table: pd.DataFrame, finer: Iterable[str] = ()) -> TextTable:
    """Return means over seeds of what `bench_table` returned, one row a source and method.

    Parameters
    ----------
    columns
        Metric -> head of its column.
    caption
        What stands above.
    table
        One row a run.
    finer
        Metrics with a decimal more than elsewhere.
    """
    digits = {metric: METRICS[metric].digits + (metric in finer) for metric in columns}

    def means(runs: pd.DataFrame) -> list[str]:
        return [number(float(runs[metric].mean()), digits[metric]) for metric in columns]

    return text_by_method(columns.values(), caption, table, means)


def text_by_method(
    heads: Iterable[str], caption: str, table: pd.DataFrame, cells: Callable[[pd.DataFrame], list[str]]
) -> TextTable:
    """Return one row a source and method: both, the number of seeds, and what ``cells`` makes of its runs, under
    ``heads``."""
    rows = [
        [str(source), label_method(str(method)), str(len(runs)), *cells(runs)]
        for (source, method), runs in table.groupby(["source", "method"], sort=False)
    ]
    return TextTable(caption, pd.DataFrame(rows, columns=["bench", "method", "seeds", *heads]), 2)
