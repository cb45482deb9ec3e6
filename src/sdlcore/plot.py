"""Plots of scores and training histories. Each function draws on matplotlib axes, or on new ones, and returns them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from sdlcore.data.recovery_rule import TAU
from sdlcore.dictionary.dictionary import Dictionary
from sdlcore.evaluation.score import Scores
from sdlcore.extras import extra
from sdlcore.text import in_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {"encoder": "C0", "decoder": "C1"}
PALE = "0.6"


def recovery(scores: Scores | Mapping[str, Scores], ax: "Axes | None" = None) -> "Axes":
    """Plot the share of recovered features against the threshold tau, for encoder and decoder.

    A dotted line marks the mean best cosine of random directions.

    Parameters
    ----------
    scores
        Result of `evaluate` with ground truth. For several results by name, only the decoders are drawn.

    Raises
    ------
    ValueError
        If the scores have no ground truth.
    """
    ax = _axes(ax)
    taus = np.linspace(0, 1, 201)
    if isinstance(scores, Mapping) and not isinstance(scores, Scores):
        curves = {name: _features(result)["decoder"] for name, result in scores.items()}
    else:
        curves = {side: _features(scores)[side] for side in COLOURS}
        for side, colour in COLOURS.items():
            label = "chance" if side == "encoder" else None
            ax.axvline(scores.chance[f"mip_{side}"], color=colour, linestyle=":", linewidth=1, label=label)
    for name, best in curves.items():
        shares = (np.asarray(best)[:, None] > taus).mean(axis=0)
        ax.plot(taus, shares, color=COLOURS.get(name), label=in_figure(name))
    ax.axvline(TAU, color=PALE, linewidth=1)
    ax.text(TAU, 1.01, f"τ = {TAU:g}", transform=ax.get_xaxis_transform(), ha="center", fontsize="small")
    ax.set(xlabel="threshold τ of the cosine", ylabel="features recovered", xlim=(0, 1), ylim=(0, 1.03))
    ax.legend(loc="lower left")
    return ax


def loss(dictionary: Dictionary | Mapping[str, Dictionary], value: str = "loss", ax: "Axes | None" = None) -> "Axes":
    """Plot a column of the training history against steps: ``loss``, ``fvu``, ``l0``, ``dead_fraction``, ...

    Parameters
    ----------
    dictionary
        A dictionary with a history, or several by name.
    value
        The column.

    Raises
    ------
    ValueError
        If a dictionary has no history, or its history has no such column.
    """
    several = {"": dictionary} if isinstance(dictionary, Dictionary) else dictionary
    ax = _axes(ax)
    for name, each in several.items():
        rows = each.history
        if not rows or value not in rows[0]:
            columns = ", ".join(rows[0]) if rows else "none, since the dictionary was not trained here"
            raise ValueError(f"the history has no column {value}; its columns are {columns}")
        ax.plot([row["step"] for row in rows], [row[value] for row in rows], label=in_figure(name) or None)
    ax.set(xlabel="step", ylabel=value)
    if value in ("loss", "fvu"):
        ax.set_yscale("log")
    if any(several):
        ax.legend()
    return ax


def features(scores: Scores, ax: "Axes | None" = None) -> "Axes":
    """Plot each feature as a dot: best cosine with an encoder row against best cosine with a decoder column.

    Parameters
    ----------
    scores
        Result of `evaluate` with ground truth. Anchored features have their own colour.

    Raises
    ------
    ValueError
        If the scores have no ground truth.
    """
    ax = _axes(ax)
    best = {name: np.asarray(values) for name, values in _features(scores).items()}
    is_anchored = np.isin(np.arange(len(best["encoder"])), best["anchored"].astype(int))
    for chosen, colour, label in ((~is_anchored, "C0", "feature"), (is_anchored, "C3", "anchored feature")):
        if chosen.any():
            dots = ax.scatter(best["encoder"][chosen], best["decoder"][chosen], s=12, color=colour, label=label)
            dots.set(alpha=0.6, linewidths=0)
    ax.axvline(TAU, color=PALE, linewidth=1)
    ax.axhline(TAU, color=PALE, linewidth=1)
    ax.set(xlabel="best cosine with an encoder row", ylabel="best cosine with a decoder column")
    ax.set(xlim=(0, 1.02), ylim=(0, 1.02))
    ax.legend(loc="lower right")
    return ax


def _features(scores: Scores) -> Mapping[str, list[float]]:
    if not scores.features:
        raise ValueError("these scores have no ground truth; evaluate with a bench or references")
    return scores.features


def _axes(ax: "Axes | None") -> "Axes":
    if ax is not None:
        return ax
    with extra("plot"):
        from matplotlib import pyplot

    return pyplot.subplots(figsize=(5, 3.5), layout="constrained")[1]
