"""Draw each true feature's best match, without and with anchors."""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from sdlcore.data.recovery_rule import TAU
from sdlstudy.rendering.figures import GREY, PALETTE, style
from sdlstudy.rendering.labels import label_method

FEATURE_COLUMNS = ["method", "feature", "given", "encoder", "decoder", "encoder_anchored", "decoder_anchored"]
SIDES = {"encoder": PALETTE[1], "decoder": PALETTE[0]}


def figure_features(features: pd.DataFrame) -> Figure:
    """Draw each feature's best cosines, encoder over decoder, and their change by anchoring; one column a method.

    Parameters
    ----------
    features
        One row for each method and true feature, with the columns `FEATURE_COLUMNS`. ``given``: whether anchoring gives
        the feature away. The last four columns are the feature's best absolute cosine with an encoder row or decoder
        column, without and with anchors.

    Returns
    -------
    Figure
        Upper row, without anchors: each feature's best cosine with encoder rows over its best cosine with decoder
        columns. Lower row: how these cosines change by anchoring, for the features that anchoring does not give away.
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
            others = rows[~rows["given"]]
            below.axhline(0, color=GREY, linewidth=0.8)
            changes = [(others[f"{side}_anchored"] - others[side]).to_numpy() for side in SIDES]
            parts = below.violinplot(changes, showmedians=True, showextrema=False, widths=0.8)
            for body, colour in zip(parts["bodies"], SIDES.values(), strict=True):
                body.set_facecolor(colour)
                body.set_alpha(0.6)
            parts["cmedians"].set_color("black")
            below.set_xticks([1, 2], list(SIDES), fontsize=8)
        panels[0, 0].set_ylabel("best cosine:\nencoder over decoder", fontsize=8)
        panels[1, 0].set_ylabel("its change by anchoring\nother features", fontsize=8)
    return figure
