"""`sdl.plot.recovery`, and axes for plots."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from sdlcore.data.recovery_rule import TAU
from sdlcore.evaluation.score import Scores
from sdlcore.extras import extra
from sdlcore.text import in_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {"encoder": "C0", "decoder": "C1"}
PALE = "0.6"


def recovery(scores: Scores | Mapping[str, Scores], ax: "Axes | None" = None) -> "Axes":
    """Plot the share of recovered features against the threshold tau, for encoder and decoder.

    It draws on matplotlib axes, or on new ones, and returns them. A dotted line marks the mean best cosine of random
    directions.

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
