"""Compare Table 1's dictionaries feature by feature, without and with anchors."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from sdlcore.data.recovery_rule import TAU
from sdlcore.settings import Seed
from sdlstudy.products.product import Picture
from sdlstudy.products.run_table import RunTable
from sdlstudy.rendering.figures import GREY, PALETTE, style
from sdlstudy.rendering.labels import label_method
from sdlstudy.settings.cells import Cell
from sdlstudy.settings.fields import Identifier, Names
from sdlstudy.settings.files import Files
from sdlstudy.settings.study import Study

COLUMNS = ["method", "feature", "given", "encoder", "decoder", "encoder_anchored", "decoder_anchored"]
SIDES = {"encoder": PALETTE[1], "decoder": PALETTE[0]}


class Pair(NamedTuple):
    """The two runs of one method that are compared."""

    plain: Cell
    anchored: Cell


class Features(Picture):
    """Figure of a table's dictionaries without and with anchors, for its first protocol and seed."""

    title = "Table 1's dictionaries feature by feature, without and with anchors"
    caption = (
        "One seed. Above, without anchors: a dot for each true feature, with its best cosine with a decoder column "
        "(across) and with an encoder row (upwards); dotted lines are at .9. Below: the change for features that are "
        "not anchors when other features are anchored; black is the median."
    )
    memory = 4000
    minutes = 15

    source: Identifier
    methods: Names
    protocol: Identifier
    anchoring: Identifier
    seed: Seed

    @classmethod
    def of(cls, table: RunTable, study: Study) -> "Features | None":
        """Return the figure for a table; None if its source is no bench, or if it does not compare runs with anchors
        and without."""
        anchored = [name for name in table.anchorings if name != "none"]
        if study.bench(table.source) is None or "none" not in table.anchorings or not anchored:
            return None
        return cls(
            source=table.source,
            methods=table.methods,
            protocol=table.protocols[0],
            anchoring=anchored[0],
            seed=table.seeds_of(study)[0],
        )

    def pairs(self) -> list[Pair]:
        """Return the runs that are compared, one pair for each method."""
        return [
            Pair(
                Cell(self.source, method, self.protocol, "none", self.seed),
                Cell(self.source, method, self.protocol, self.anchoring, self.seed),
            )
            for method in self.methods
        ]

    def cells_without_metrics(self, study: Study) -> list[Cell]:
        return [cell for pair in self.pairs() for cell in pair]

    def inputs(self, files: Files) -> list[str]:
        models = [files.model(cell) for cell in self.cells_without_metrics(files.study)]
        return [*models, *self._judges(files)]

    def _judges(self, files: Files) -> tuple[str, str]:
        """Return the files of the true features and of the anchors."""
        anchors = files.anchors(self.source, self.anchoring, self.seed)
        return files.feature_matrix(self.source, self.seed), anchors

    def rows(self, files: Files) -> pd.DataFrame:
        """Return a row for each method and true feature, with the columns `COLUMNS`.

        ``given``: whether anchoring gives the feature away. The last four columns are the feature's best absolute
        cosine with an encoder row or decoder column, without and with anchors.
        """
        from sdlcore.data.anchors import load_anchors
        from sdlcore.data.references import load_references
        from sdlcore.evaluation.ground_truth import anchored_features, best_cosines
        from sdlcore.model.saving import load_model

        features, anchors = self._judges(files)
        references = load_references(features)
        anchored = anchored_features(load_anchors(anchors), references)
        frames = []
        for pair in self.pairs():
            number = np.arange(references.W_p.shape[1])
            frame = pd.DataFrame({"method": pair.plain.method, "feature": number, "given": np.isin(number, anchored)})
            for cell, suffix in ((pair.plain, ""), (pair.anchored, "_anchored")):
                encoder, decoder = best_cosines(load_model(files.model(cell)), references)
                frame[f"encoder{suffix}"], frame[f"decoder{suffix}"] = encoder, decoder
            frames.append(frame[COLUMNS])
        return pd.concat(frames)

    def draw(self, rows: pd.DataFrame, files: Files) -> Figure:
        """Draw a column of panels for each method."""
        methods = list(rows["method"].unique())
        with style():
            figure = Figure(figsize=(max(4.0, 1.55 * len(methods) + 0.9), 4.6), layout="constrained")
            panels: Any = figure.subplots(2, len(methods), sharex="row", sharey="row", squeeze=False)
            for column, method in enumerate(methods):
                matches = rows[rows["method"] == method]
                above, below = panels[:, column]
                above.axhline(TAU, color=GREY, linewidth=0.8, linestyle=":")
                above.axvline(TAU, color=GREY, linewidth=0.8, linestyle=":")
                above.plot(matches["decoder"], matches["encoder"], ".", markersize=3, color=PALETTE[0], alpha=0.5)
                above.set_title(label_method(method), fontsize=9)
                above.set_xlabel("decoder", fontsize=8)
                others = matches[~matches["given"]]
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
