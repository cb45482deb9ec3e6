"""Draw recovery over the parameter that a table sweeps, beside the paper's numbers."""

from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sdlcore.evaluation.metric_names import SIDES, recovery_name
from sdlstudy.rendering.figures import GREY, PALETTE, style
from sdlstudy.rendering.labels import label_anchoring, label_method
from sdlstudy.rendering.symbols import symbol

COLOURS = [PALETTE[0], PALETTE[3], PALETTE[2]]
"""Colours of anchorings."""
LINES: list[Literal["-", "--", ":"]] = ["-", "--", ":"]
"""Line styles of protocols."""
SHIFT = 0.07
"""Shift of anchorings along the axis, so that their points do not hide each other."""


def figure_sweep(table: pd.DataFrame) -> Figure:
    """Draw recovery of encoder and decoder over the swept parameter, one column of panels for each method.

    Parameters
    ----------
    table
        As `sweeps.table_over` returns it for a table that sweeps a parameter.

    Returns
    -------
    Figure
        Means over seeds with their standard deviation. Values of the parameter are drawn at equal distances. Hollow
        markers are the paper's numbers, which it reports for encoders.
    """
    methods, values = list(table["method"].unique()), list(table["value"].unique())
    with style():
        width = max(5.2, 1.75 * len(methods) + 0.8)
        figure = Figure(figsize=(width, 4.9), layout="constrained")
        panels = figure.subplots(len(SIDES), len(methods), sharex=True, sharey=True, squeeze=False)
        for column, method in enumerate(methods):
            rows = table[table["method"] == method]
            for row, side in enumerate(SIDES):
                _draw(panels[row, column], rows, side, values)
            panels[0, column].set_title(label_method(method), fontsize=9)
            panels[-1, column].set_xticks(range(len(values)), _tick_labels(table), fontsize=7)
            panels[-1, column].set_xlabel(symbol(table["parameter"].iloc[0]))
        for row, side in enumerate(SIDES):
            panels[row, 0].set_ylabel(f"recovered by the {side}\n(share of features)")
        panels[0, 0].set_ylim(-0.04, 1.04)
        figure.legend(handles=_legend(table), loc="outside lower center", ncols=3, fontsize=8)
    return figure


def _draw(axes: Axes, rows: pd.DataFrame, side: str, values: list[float]) -> None:
    for i, (anchoring, anchored) in enumerate(rows.groupby("anchoring", sort=False)):
        colour = COLOURS[i % len(COLOURS)]
        for j, (_, line) in enumerate(anchored.groupby("protocol", sort=False)):
            places = np.array([values.index(value) for value in line["value"]]) + SHIFT * (2 * i - 1)
            spread = line[f"{recovery_name(side)}_std"]
            axes.errorbar(
                places,
                line[f"{recovery_name(side)}_mean"],
                yerr=None if spread.isna().all() else spread.fillna(0),
                color=colour,
                linestyle=LINES[j % len(LINES)],
                linewidth=1.4,
                marker="o",
                markersize=3.5,
                capsize=2.5,
                label=f"{label_anchoring(str(anchoring))}",
            )
            if side == "encoder" and j == 0:
                axes.plot(
                    places,
                    line["paper_gt_recovery"],
                    linestyle="none",
                    marker="D",
                    markersize=6,
                    markerfacecolor="none",
                    color=colour,
                    clip_on=False,
                )


def _tick_labels(table: pd.DataFrame) -> list[str]:
    """Return a label for each value, with the paper's value below if it differs."""
    points = table[["value", "paper_value"]].drop_duplicates().itertuples(index=False)
    return [f"{ours:g}" if ours == paper else f"{ours:g}\n({paper:g})" for ours, paper in points]


def _legend(table: pd.DataFrame) -> list[Line2D]:
    anchorings, protocols = table["anchoring"].unique(), table["protocol"].unique()
    handles = [
        Line2D([], [], color=COLOURS[i % len(COLOURS)], marker="o", markersize=3.5, label=f"anchoring: {label}")
        for i, label in enumerate(map(label_anchoring, anchorings))
    ]
    handles.append(
        Line2D([], [], color=GREY, linestyle="none", marker="D", markerfacecolor="none", label="the paper's (encoder)")
    )
    if len(protocols) > 1:
        handles += [
            Line2D([], [], color=GREY, linestyle=LINES[i % len(LINES)], label=f"protocol {protocol}")
            for i, protocol in enumerate(protocols)
        ]
    return handles
