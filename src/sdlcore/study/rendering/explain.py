"""Draw how near protocols come to the paper, over the settings that matter most."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sdlcore.study.rendering.figures import GREY, PALETTE, style

SETTINGS = (
    "tied", "initialisation", "init_scale", "decoder_norm", "bias", "inputs", "lr", "schedule", "weight_decay",
    "gradient_clip", "batch_size", "k", "target", "seed_leak", "side", "recovery_of", "tau", "step",
)  # fmt: skip
"""Settings of protocols, and choices of the reading under which each protocol is nearest to the paper."""
SHOWN = 6


def shares(table: pd.DataFrame) -> dict[str, float]:
    """Return the share of the variance of distances that each setting explains by its values' means, largest first."""
    total = table["distance"].var(ddof=0)
    found = {}
    for name in SETTINGS:
        means = table.groupby(name)["distance"].transform("mean")
        found[name] = float(means.var(ddof=0) / total) if total else 0.0
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def figure_explain(table: pd.DataFrame, stages: Sequence[str]) -> Figure:
    """Draw the distances of each stage's protocols, and for the largest stage over the settings that explain most.

    Parameters
    ----------
    table
        The columns of `sdlcore.study.explain.distance.distances`, and ``stage``.
    stages
        The stages, in drawing order.

    Returns
    -------
    Figure
        Points are protocols; bars are medians.
    """
    most = max(stages, key=lambda stage: (table["stage"] == stage).sum())
    first = table[table["stage"] == most]
    ranked = list(shares(first).items())[:SHOWN]
    with style():
        figure = Figure(figsize=(9.6, 6.4), layout="constrained")
        top, *panels = figure.subplot_mosaic("SSS;ABC;DEF", sharey=True).values()
        _stages(top, table, stages)
        for axes, (name, share) in zip(panels, ranked, strict=False):
            _over(axes, first, name)
            axes.set_xlabel(f"{name} ({share:.0%} of the variance)", fontsize=8)
        for axes in (top, *panels[::3]):
            axes.set_ylabel("distance from the paper", fontsize=8)
        top.set_ylim(0, 1)
    return figure


def _stages(axes: Axes, table: pd.DataFrame, stages: Sequence[str]) -> None:
    for place, stage in enumerate(stages):
        values = table.loc[table["stage"] == stage, "distance"]
        axes.plot(_spread(place, len(values)), values, linestyle="none", marker=".", markersize=3, color=PALETTE[0])
        axes.annotate(
            f"{values.min():.2f}", (place, values.min()), (0, -10), textcoords="offset points", fontsize=7, ha="center"
        )
    axes.set_xticks(range(len(stages)), stages, fontsize=7)
    axes.set_xlabel("stage (its smallest distance)", fontsize=8)


def _over(axes: Axes, rows: pd.DataFrame, name: str) -> None:
    values = sorted(rows[name].unique())
    for place, value in enumerate(values):
        chosen = rows.loc[rows[name] == value, "distance"]
        axes.plot(_spread(place, len(chosen)), chosen, linestyle="none", marker=".", markersize=3, color=GREY)
        axes.plot([place - 0.25, place + 0.25], [chosen.median()] * 2, color=PALETTE[0], linewidth=2)
    labels = [_label(value) for value in values]
    axes.set_xticks(range(len(values)), labels, fontsize=7, rotation=20 if len(values) > 6 else 0)


def _spread(place: float, number: int) -> np.ndarray:
    """Return places beside each other, so that points do not hide each other."""
    return place + 0.35 * (np.arange(number) * 0.618034 % 1 - 0.5)


def _label(value: object) -> str:
    return f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
