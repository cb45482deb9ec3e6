"""Pictures of what dictionaries make of single true features, and of what their training cost."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from sdlcore.evaluation.recovery import TAU
from sdlcore.rendering.figures import GREY, PALETTE, style
from sdlcore.rendering.markup import label_method

FEATURE_COLUMNS = ["method", "feature", "given", "encoder", "decoder", "encoder_anchored", "decoder_anchored"]
SIDES = {"encoder": PALETTE[1], "decoder": PALETTE[0]}


class Trained(NamedTuple):
    """One run's course."""

    method: str
    protocol: str
    seconds: np.ndarray
    """Of training, up to each record."""
    fvu: np.ndarray
    """Fraction of variance unexplained of the batch, at each record."""
    encoder: float
    """Share of features that its rows recover."""
    decoder: float


def figure_features(features: pd.DataFrame) -> Figure:
    """Draw encoder against decoder, and anchored against not, feature by feature, a column of panels a method.

    Parameters
    ----------
    features
        One row a method x true feature: `FEATURE_COLUMNS`. ``given``: whether anchoring gives it away; the others are
        its best absolute cosine with a row of the encoder or a column of the decoder, without and with anchors.

    Returns
    -------
    Figure
        Above, of dictionaries without anchors, the best cosine of encoder rows over that of decoder columns. Below, of
        features that anchoring does not give away, how much these change when others are given.
    """
    methods = list(features["method"].unique())
    with style():
        figure = Figure(figsize=(max(4.0, 1.55 * len(methods) + 0.9), 4.6), layout="constrained")
        panels: Any = figure.subplots(2, len(methods), sharex="row", sharey="row", squeeze=False)
        for column, method in enumerate(methods):
            rows = features[features["method"] == method]
            above, below = panels[:, column]
            above.axhline(TAU, color=GREY, linewidth=0.8, linestyle=":")
            above.axvline(TAU, color=GREY, linewidth=0.8, linestyle=":")
            above.plot(rows["decoder"], rows["encoder"], ".", markersize=3, color=PALETTE[0], alpha=0.5)
            above.set_title(label_method(method), fontsize=9)
            above.set_xlabel("decoder", fontsize=8)
            left = rows[~rows["given"]]
            below.axhline(0, color=GREY, linewidth=0.8)
            changes = [(left[f"{side}_anchored"] - left[side]).to_numpy() for side in SIDES]
            parts = below.violinplot(changes, showmedians=True, showextrema=False, widths=0.8)
            for body, colour in zip(parts["bodies"], SIDES.values(), strict=True):
                body.set_facecolor(colour)
                body.set_alpha(0.6)
            parts["cmedians"].set_color("black")
            below.set_xticks([1, 2], list(SIDES), fontsize=8)
        panels[0, 0].set_ylabel("best cosine:\nencoder over decoder", fontsize=8)
        panels[1, 0].set_ylabel("its change by anchoring\nother features", fontsize=8)
    return figure


def figure_training(runs: Sequence[Trained]) -> Figure:
    """Draw what training cost, a row of panels a protocol.

    Returns
    -------
    Figure
        Left the fraction of variance unexplained over the seconds of training, a line a run; right the share of
        features that runs recovered over the seconds that they took: full markers of decoders, hollow ones of encoders.
    """
    protocols = list(dict.fromkeys(run.protocol for run in runs))
    methods = list(dict.fromkeys(run.method for run in runs))
    with style():
        figure = Figure(figsize=(8.4, 2.5 * len(protocols) + 0.5), layout="constrained")
        panels: Any = figure.subplots(len(protocols), 2, squeeze=False)
        for (loss, recovery), protocol in zip(panels, protocols, strict=True):
            seen = set()
            for run in runs:
                if run.protocol != protocol:
                    continue
                colour = PALETTE[methods.index(run.method) % len(PALETTE)]
                label = None if run.method in seen else label_method(run.method)
                seen.add(run.method)
                loss.plot(run.seconds, run.fvu, color=colour, linewidth=1.0, label=label)
                recovery.plot(run.seconds[-1], run.decoder, "o", color=colour, markersize=4.5, clip_on=False)
                recovery.plot(
                    run.seconds[-1], run.encoder, "o", color=colour, markersize=4.5, fillstyle="none", clip_on=False
                )
            loss.set_yscale("log")
            loss.set_ylabel(f"protocol {protocol}\nvariance unexplained", fontsize=8)
            recovery.set_ylabel("recovered (share of features)", fontsize=8)
            recovery.set_ylim(-0.03, 1.03)
            longest = max(float(run.seconds[-1]) for run in runs if run.protocol == protocol)
            for axes in (loss, recovery):
                axes.set_xlim(0, 1.04 * longest)
        panels[-1, 0].set_xlabel("seconds of training")
        panels[-1, 1].set_xlabel("seconds of training")
        handles, labels = panels[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right upper", fontsize=8)
    return figure
