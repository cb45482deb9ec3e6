"""Format tables of runs on benches, a row for each bench and method: means, intervals over seeds, and costs."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pandas as pd

from sdlcore.pipeline import METRICS
from sdlcore.study.rendering.markup import label_method, number
from sdlcore.study.rendering.solvers_table import last_row, latents_of
from sdlcore.study.rendering.text_table import TextTable
from sdlcore.study.results.tables import paired_interval

COSTS = {"latents": 0, "samples": 0, "seconds": 1}
"""What `costs` says of a run, with the decimals of its mean."""


def bench_text(columns: Mapping[str, str], caption: str, table: pd.DataFrame, finer: Iterable[str] = ()) -> TextTable:
    """Return means over seeds, one row a source and method; none where a seed lacks a value.

    Parameters
    ----------
    columns
        Metric -> head of its column.
    caption
        What stands above.
    table
        One row a run: source, method, seed and the metrics.
    finer
        Metrics with a decimal more than elsewhere.
    """
    digits = {metric: METRICS[metric].digits + (metric in finer) for metric in columns}

    def means(runs: pd.DataFrame) -> list[str]:
        return [number(float(runs[metric].mean(skipna=False)), digits[metric]) for metric in columns]

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


def costs(folders: Iterable[str | Path]) -> pd.DataFrame:
    """Return ``latents`` (atoms, of a solver), ``samples`` taken and ``seconds`` by the clock, one row a run.

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
    """Return means over seeds with half the width of their 95 % t intervals, then means of costs.

    Parameters are as of `bench_text`; a row of ``table`` has `COSTS`, too.
    """

    def cells(runs: pd.DataFrame) -> list[str]:
        found = []
        for metric in columns:
            mean, _, high = paired_interval(runs[metric].to_numpy())
            digits = METRICS[metric].digits
            found.append(number(mean, digits) + ("" if pd.isna(high) else f" ± {number(high - mean, digits)}"))
        return found + [number(float(runs[name].mean()), digits) for name, digits in COSTS.items()]

    return text_by_method([*columns.values(), *COSTS], caption, table, cells)
