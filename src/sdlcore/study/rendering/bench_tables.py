"""Format tables of runs on benches, a row for each bench and method."""

from collections.abc import Iterable, Mapping

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
    rows = []
    for (source, method), runs in table.groupby(["source", "method"], sort=False):
        means = [number(float(runs[metric].mean()), digits[metric]) for metric in columns]
        rows.append([str(source), label_method(str(method)), str(len(runs)), *means])
    frame = pd.DataFrame(rows, columns=["bench", "method", "seeds", *columns.values()])
    return TextTable(caption, frame, 2)
