"""Figures 9 and 10: the images that activate a run's latents most."""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from textwrap import wrap
from typing import Annotated

import numpy as np
import pandas as pd
from annotated_types import Ge, Le
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pydantic import Field

from sdlcore.text import in_figure
from sdlstudy.products.product import Picture
from sdlstudy.rendering.figures import GREY, PALETTE, style
from sdlstudy.rendering.labels import label_anchoring, label_method
from sdlstudy.settings.cells import Cell
from sdlstudy.settings.fields import Identifier
from sdlstudy.settings.files import Files
from sdlstudy.settings.study import Study

Images = Annotated[int, Ge(1), Le(1000)]
CLASSES_SHOWN = 6
"""Number of classes with a bar of their own in a histogram; the others share one bar."""
LONGEST_LINE, LONGEST_NAME, LONGEST_TITLE = 14, 40, 200
"""Number of characters after which a class name is wrapped, and after which a name or the title is cut off."""


class TopImages(Picture):
    """The images that activate a run's latents most, with their classes; one row for each latent."""

    keys = ("figures.figure9", "figures.figure10")
    title = "The images that activate a run's latents most"
    caption = (
        "Latents whose decoder columns match the first anchored classes best, one for each class, also for a run "
        "without anchors. Training did not see these images. They are ordered by activation; the histogram counts the "
        "classes of the hundred images that activate the latent most. Tied: the latent is anchored to the class; "
        "nearest: another latent matches it better."
    )
    memory = 4000
    minutes = 30

    source: Identifier
    """A source of images."""
    method: Identifier
    protocol: Identifier = "best"
    anchoring: Identifier = "none"
    """The anchoring of the run, or none."""
    latents: Annotated[Images, Field(alias="rows")] = 4
    """Number of latents shown. For each of the first anchored classes, the latent whose decoder column matches it best
    is shown. A run without anchors shows the same classes."""
    images: Images = 10
    """Number of images for each latent."""

    def cell(self, study: Study) -> Cell:
        """Return the run that is shown, with the first seed."""
        return Cell(self.source, self.method, self.protocol, self.anchoring, study.seeds[0])

    def cells(self, study: Study) -> list[Cell]:
        return [self.cell(study)]

    def anchorings_on(self, study: Study, source: str) -> set[str]:
        return {self.anchoring} if source == self.source else set()

    def used(self, study: Study) -> Study:
        # a run without anchors shows the classes that other runs are anchored to, so it depends on all anchorings
        return super().used(study).model_copy(update={"anchorings": study.anchorings})

    def accepted_sources(self, study: Study) -> tuple[Iterable[str], str]:
        return study.sources.clip, "a source under sources.clip"

    def unsound(self, path: str, study: Study) -> Iterator[str]:
        if all(anchoring.discover for anchoring in study.anchorings.values()):
            yield f"{path}: the figure shows classes of an anchoring, but none draws from classes; set {path} to null"

    def _judges(self, files: Files) -> tuple[str, str]:
        """Return the files of the class means, and of the anchors that the latents are chosen by."""
        cell = self.cell(files.study)
        references, anchors = files.references(cell.source, cell.seed), files.judging_anchors(cell)
        assert references is not None, "sources of images have classes"
        assert anchors is not None, "a configuration without anchors is refused before"
        return references, anchors

    def inputs(self, files: Files) -> list[str]:
        cell = self.cell(files.study)
        prepared = files.prepared_images(cell.source)
        paths = [files.model(cell), files.store(cell.source, cell.seed, "test"), *self._judges(files)]
        return [*paths, prepared] if prepared else paths

    def rows(self, files: Files) -> pd.DataFrame:
        """Return a row for each top sample of each latent, by descending activation.

        ``reference`` is the class whose mean the latent's decoder column matches, with the ``cosine``; ``tied`` says
        whether the latent is anchored to it. ``class`` and ``path`` are the sample's.
        """
        from sdlcore.data.anchors import load_anchors
        from sdlcore.data.reading import ActivationStore
        from sdlcore.data.references import load_references
        from sdlcore.evaluation.ground_truth import anchored_features
        from sdlcore.evaluation.recovery import one_to_one
        from sdlcore.evaluation.samples import find_top_samples
        from sdlcore.model.saving import load_model

        model_file, store, references, anchors, *_ = self.inputs(files)
        model, means = load_model(model_file), load_references(references)
        features = anchored_features(load_anchors(anchors), means)[: self.latents]
        match = one_to_one(model.W_dec.detach().numpy(), means.W_p.T[features])
        with ActivationStore(store) as opened:
            if means.classes is None or not opened.has("labels") or not opened.has("references/path"):
                raise ValueError(f"{store}: expected a store of labelled images, and class means in {references}")
            top = find_top_samples(model, opened, match.latent)
            names, labels = opened.class_names() or [], opened.read("labels")
            paths = opened.read("references/path")
        return pd.DataFrame(
            [
                {
                    "latent": int(match.latent[i]),
                    "reference": names[means.classes[feature]],
                    "cosine": float(match.similarity[i]),
                    "tied": self.anchoring != "none" and int(match.latent[i]) == i,
                    "place": place,
                    "activation": float(value),
                    "class": names[labels[sample]],
                    "path": paths[sample],
                }
                for i, feature in enumerate(features)
                for place, (value, sample) in enumerate(zip(top.values[i], top.samples[i], strict=True))
                if sample >= 0
            ],
            columns=["latent", "reference", "cosine", "tied", "place", "activation", "class", "path"],
        )

    def draw(self, rows: pd.DataFrame, files: Files) -> Figure:
        """Draw a row for each latent that responds to any image: its top images, and a histogram of their classes."""
        # the store names images by their paths relative to their folder
        train, test = files.images(self.source)
        folder, how = Path(test or train), "not anchored"
        if self.anchoring != "none":
            how = f"anchored to {label_anchoring(self.anchoring)}"
        seed = self.cell(files.study).seed
        title = f"{label_method(self.method)}, {how}, on {self.source}, seed {seed}"
        groups = [group for _, group in rows.groupby(["latent", "reference"], sort=False)]
        with style():
            size = 1.0 * self.images + 3.4, 1.45 * len(groups) + 0.5
            figure = Figure(figsize=size, layout="constrained")
            figure.suptitle(in_figure(title, LONGEST_TITLE), fontsize=10, x=0.01, ha="left")
            ratios = [*[1.0] * self.images, 3.2]
            grid = figure.add_gridspec(max(1, len(groups)), self.images + 1, width_ratios=ratios)
            for i, group in enumerate(groups):
                for j in range(self.images):
                    axes = figure.add_subplot(grid[i, j])
                    axes.set_axis_off()
                    if j < len(group):
                        axes.imshow(_pixels(folder / group["path"].iloc[j]))
                        # wrapped, so that neighbouring names do not overlap
                        lines = wrap(in_figure(group["class"].iloc[j], 3 * LONGEST_LINE), LONGEST_LINE)
                        axes.set_title("\n".join(lines[:3]), fontsize=5.5, pad=2)
                _draw_histogram(figure.add_subplot(grid[i, self.images]), group)
        return figure


def _draw_histogram(axes: Axes, group: pd.DataFrame) -> None:
    histogram, reference = Counter(group["class"]).most_common(), group["reference"].iloc[0]
    bars = histogram[:CLASSES_SHOWN]
    other_count = sum(count for _, count in histogram[CLASSES_SHOWN:])
    if other_count:
        bars.append((f"{len(histogram) - CLASSES_SHOWN} more classes", other_count))
    places = np.arange(len(bars))[::-1]
    colours: list[object] = [PALETTE[3] if name == reference else PALETTE[0] for name, _ in bars]
    if other_count:
        colours[-1] = GREY
    axes.barh(places, [count for _, count in bars], color=colours, height=0.7)
    axes.set_yticks(places, [in_figure(name, LONGEST_NAME) for name, _ in bars], fontsize=6)
    axes.tick_params(axis="x", labelsize=6)
    axes.grid(visible=False, axis="y")
    first, classes = group.iloc[0], len(histogram)
    link = "tied to" if first["tied"] else "nearest to"
    axes.set_title(
        f"latent {first['latent']}, {link} {in_figure(reference, LONGEST_NAME)} (cosine {first['cosine']:.2f}):\n"
        f"{classes} class{'es' if classes != 1 else ''} share its top {len(group)}",
        fontsize=6.5,
        loc="left",
    )


def _pixels(path: Path) -> np.ndarray:
    from sdlcore.extraction.images import open_picture

    return np.asarray(open_picture(path))
