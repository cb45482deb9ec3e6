"""Draw the cosine between encoder rows and their features, beside the law for it (`sdlstudy.theory.encoder_law`)."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sdlstudy.rendering.figures import GREY, PALETTE, style
from sdlstudy.rendering.labels import label_method

EXACT = "least squares"
"""Name of the read-outs of the true features in the column of methods."""
COLUMNS = ["parameter", "value", "method", "seed", "law", "deviation"]
"""First columns of the table; the fields of `sdlstudy.theory.reading.Read` follow."""
CURVES = ["parameter", "value", "cosine", "gain", "gain_active"]
INK = (0.1, 0.1, 0.1)
MARKERS = "osD^vP"


def law_sentences(rows: pd.DataFrame) -> Iterator[str]:
    """Yield a sentence for each method and parameter: how far its cosines are from the law."""
    for (method, parameter), group in rows.groupby(["method", "parameter"], sort=False):
        near = group.dropna(subset=["deviation"])
        name = "The least-squares read-out" if method == EXACT else label_method(str(method))
        if near.empty:
            yield f"{name}, over {parameter}: no feature was found."
            continue
        least, most = near["deviation"].min(), near["deviation"].max()
        yield f"{name}, over {parameter}: cosine minus law is {least:+.3f} to {most:+.3f} ({len(near)} points)."


def figure_law(rows: pd.DataFrame, curves: pd.DataFrame) -> Figure:
    """Draw the cosine over n, the inner product over n, and the cosine over noise.

    Parameters
    ----------
    rows
        Columns `COLUMNS` and the fields of `sdlstudy.theory.reading.Read`.
    curves
        Columns `CURVES`.
    """
    methods = [method for method in rows["method"].unique() if method != EXACT]
    looks: dict[str, dict[str, Any]] = {
        method: {"color": PALETTE[i % len(PALETTE)], "marker": MARKERS[i % len(MARKERS)]}
        for i, method in enumerate(methods)
    }
    looks[EXACT] = {"color": INK, "marker": "x"}
    with style():
        figure = Figure(figsize=(10.4, 3.9), layout="constrained")
        panels: Any = figure.subplots(1, 3)
        for axes, parameter, quantity in zip(
            panels, ("n", "n", "noise"), ("cosine", "gain_together", "cosine"), strict=True
        ):
            curve, points = (frame[frame["parameter"] == parameter] for frame in (curves, rows))
            axes.plot(curve["value"], curve["cosine" if quantity == "cosine" else "gain"], color=INK, linewidth=1.4)
            if quantity == "gain_together":
                axes.plot(curve["value"], curve["gain_active"], color=INK, linewidth=1.2, linestyle=":")
            for method, look in looks.items():
                _draw(axes, points[points["method"] == method], quantity, look)
            axes.set_xlabel("features, $n$" if parameter == "n" else "noise, relative to a sample's size")
            axes.set_ylim(0, None)
        panels[0].set_ylabel("cosine of encoder row and feature")
        panels[1].set_ylabel(
            "inner product of encoder rows and feature\n(all latents that decode it, columns of norm 1)"
        )
        panels[2].set_ylabel("cosine of encoder row and feature")
        handles = [
            Line2D([], [], color=INK, linewidth=1.4, label="law"),
            Line2D([], [], color=INK, linewidth=1.2, linestyle=":", label="law, fitted where the feature is active"),
            *(
                Line2D([], [], linestyle="none", markersize=5, label=_label(method), **_open(look))
                for method, look in looks.items()
            ),
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=8)
    return figure


def _label(method: str) -> str:
    return "least squares, true features" if method == EXACT else label_method(method)


def _open(look: dict[str, Any]) -> dict[str, Any]:
    """Return the look of a hollow marker, which does not hide points below it."""
    return {"markerfacecolor": "none", "markeredgecolor": look["color"], "marker": look["marker"]}


def _draw(axes: Any, rows: pd.DataFrame, quantity: str, look: dict[str, Any]) -> None:
    axes.plot(rows["value"], rows[quantity], linestyle="none", markersize=5, zorder=3, **_open(look))
    means = rows.groupby("value")[quantity].mean().dropna()
    if look["marker"] != "x" and len(means) > 1:
        axes.plot(means.index, means, color=look["color"], linewidth=0.7, alpha=0.5)
    if rows[quantity].isna().any():
        missing = rows.loc[rows[quantity].isna(), "value"]
        axes.plot(missing, np.zeros(len(missing)), linestyle="none", color=GREY, marker=look["marker"], clip_on=False)
