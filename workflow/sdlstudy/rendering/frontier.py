"""Draw where methods break: their recovery while one setting of a bench is varied at a time."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from sdlstudy.rendering.figures import GREY, PALETTE, style
from sdlstudy.rendering.labels import label_method
from sdlstudy.rendering.solvers_table import DECODER, BenchFacts, last_row, solvers_table
from sdlstudy.rendering.symbols import symbol
from sdlstudy.results.runs import RunsError
from sdlstudy.settings.sources import Bench

COLOURS = [PALETTE[0], PALETTE[3], PALETTE[2], PALETTE[1]]
"""Colours of methods, in their order."""
ROWS = {
    DECODER: "recovered by the decoder\n(share, cosine above .9)",
    "found": "atoms or active latents\nby true features",
    "samples_taken": "samples that search\nor training took",
}
WIDE = 4.0
"""An axis is logarithmic if the ratio of its largest to its smallest number exceeds this."""


class At(NamedTuple):
    """A run, and the value of the varied parameter at which it is drawn."""

    parameter: str
    value: float
    folder: Path


def frontier_table(runs: Sequence[At], benches: Mapping[str, BenchFacts]) -> pd.DataFrame:
    """Return one row for each run and point.

    Parameters
    ----------
    runs
        The runs. A run may be listed at several points.
    benches
        Source -> its facts, as `bench_facts` returns them.

    Returns
    -------
    DataFrame
        ``parameter``, ``value``, then the columns of `solvers_table`, then ``samples_taken``. A sample counts each time
        that it is used. The number of samples used is the same on every machine, unlike seconds.

    Raises
    ------
    RunsError
        If a file is unreadable, or a history lacks the column samples.
    """
    table = solvers_table([run.folder / "metrics.json" for run in runs], benches)
    table.insert(0, "value", [run.value for run in runs])
    table.insert(0, "parameter", [run.parameter for run in runs])
    table["samples_taken"] = [_samples(run.folder) for run in runs]
    return table


def figure_frontier(table: pd.DataFrame, base: Bench) -> Figure:
    """Draw a column of panels for each parameter: the decoder's recovery, latents per true feature, samples taken.

    Parameters
    ----------
    table
        As `frontier_table` returns it.
    base
        The bench that is varied, whose values are marked.

    Returns
    -------
    Figure
        Points are seeds, lines their medians. Sparsity is drawn as the probability that a feature is active.
    """
    table = table.assign(found=table["features_found"] / table["n"])
    parameters, methods = list(table["parameter"].unique()), list(table["solver"].unique())
    with style():
        figure = Figure(figsize=(max(5.2, 2.3 * len(parameters) + 0.6), 6.2), layout="constrained")
        panels = figure.subplots(len(ROWS), len(parameters), sharex="col", sharey="row", squeeze=False)
        for column, parameter in enumerate(parameters):
            rows = _on_axis(table[table["parameter"] == parameter])
            for row, quantity in enumerate(ROWS):
                _draw(panels[row, column], rows, quantity, methods)
                panels[row, column].axvline(
                    _place(parameter, getattr(base, parameter)), color=GREY, linewidth=0.9, linestyle=":"
                )
            _set_axis(panels[-1, column], rows["x"], parameter)
        for row, (quantity, label) in enumerate(ROWS.items()):
            panels[row, 0].set_ylabel(label, fontsize=8)
            if quantity == "found" and _wide(table[quantity]):
                panels[row, 0].set_yscale("log")
            if quantity != DECODER:
                panels[row, 0].yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
        panels[-1, 0].set_ylim(bottom=0)
        panels[0, 0].set_ylim(-0.04, 1.04)
        handles, labels = panels[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(methods), fontsize=8)
    return figure


def _samples(folder: Path) -> int:
    row = last_row(folder)
    if "samples" not in row:
        raise RunsError(f"{folder / 'history.csv'}: column samples is missing, expected the history of a run")
    return int(row["samples"])


def _place(parameter: str, value: float) -> float:
    return 1 - value if parameter == "sparsity" else value


def _on_axis(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(x=[_place(p, v) for p, v in zip(rows["parameter"], rows["value"], strict=True)])


def _wide(values: pd.Series) -> bool:
    positive = values[values > 0]
    return bool(len(positive)) and float(positive.max()) > WIDE * float(positive.min())


def _draw(axes: Axes, rows: pd.DataFrame, quantity: str, methods: Sequence[str]) -> None:
    for colour, method in zip(COLOURS * len(methods), methods, strict=False):
        chosen = rows[rows["solver"] == method]
        medians = chosen.groupby("x")[quantity].median()
        axes.plot(medians.index, medians, color=colour, linewidth=1.4, label=label_method(method))
        axes.plot(chosen["x"], chosen[quantity], color=colour, linestyle="none", marker="o", markersize=3.5)


def _set_axis(axes: Axes, x: pd.Series, parameter: str) -> None:
    labels = {"sparsity": "P(active)", "train_samples": "samples for training, N"}
    axes.set_xlabel(labels.get(parameter, symbol(parameter)))
    if (x > 0).all() and _wide(x) and parameter == "train_samples":
        axes.set_xscale("log")
        axes.set_xticks(sorted(x.unique()), [f"{value:g}" for value in sorted(x.unique())], fontsize=7, rotation=45)
        axes.minorticks_off()
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.tick_params(axis="x", labelsize=7)
