"""Figures 9 and 10: the images that activate a run's latents most."""

from collections import Counter
from collections.abc import Iterable, Iterator
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from sdlcore.text import in_figure
from sdlstudy.products.product import Product
from sdlstudy.rendering.figures import GREY, PALETTE
from sdlstudy.rendering.labels import label_anchoring, label_method
from sdlstudy.settings.cells import Cell
from sdlstudy.settings.fields import Identifier
from sdlstudy.settings.files import Files
from sdlstudy.settings.study import Study

if TYPE_CHECKING:
    from sdlcore.inside.features import Feature

LATENTS, IMAGES = 4, 10
"""Number of latents shown, one for each of the first anchored classes, and of images for each."""
CLASSES_SHOWN = 6
"""Number of classes with a bar of their own in a histogram; the others share one bar."""
LONGEST_LINE, LONGEST_NAME, LONGEST_TITLE = 14, 40, 200
"""Number of characters after which a class name is wrapped, and after which a name or the title is cut off."""


class TopImages(Product):
    """The images that activate a run's latents most, with their classes; one row for each latent."""

    keys = ("figures.figure9", "figures.figure10")
    title = "The images that activate a run's latents most"
    caption = (
        "Latents whose decoder columns match the first anchored classes best, one for each class, also for a run "
        "without anchors. Training did not see these images. They are ordered by activation; the histogram counts the "
        "classes of the hundred images that activate the latent most. If a source has patches, colour shows the "
        "activation at each patch, as a share of the picture's largest. Tied: the latent is anchored to the class; "
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

    def inputs(self, files: Files) -> list[str]:
        cell = self.cell(files.study)
        references, anchors = files.references(cell.source, cell.seed), files.judging_anchors(cell)
        if references is None or anchors is None:
            hint = "anchor some, or set the figure to null"
            raise ValueError(f"figures.{self.name}: no run on {cell.source} has anchors to show; {hint}")
        prepared = files.prepared_images(cell.source)
        paths = [files.model(cell), files.store(cell.source, cell.seed, "test"), references, anchors]
        return [*paths, prepared] if prepared else paths

    def matching_latents(self, files: Files, number: int) -> "list[tuple[str, float, Feature]]":
        """Return class, cosine and top images of each latent that is shown.

        If the source has a row for each patch, an image counts by its most active patch.
        """
        from sdlcore.data.anchors import load_anchors
        from sdlcore.data.reading import ActivationStore
        from sdlcore.data.references import load_references
        from sdlcore.evaluation.ground_truth import anchored_features
        from sdlcore.evaluation.recovery import one_to_one
        from sdlcore.inside.images import top_images
        from sdlcore.model.saving import load_model

        model_file, store, references, anchors, *_ = self.inputs(files)
        model, means = load_model(model_file), load_references(references)
        features = anchored_features(load_anchors(anchors), means)[:LATENTS]
        match = one_to_one(model.W_dec.detach().numpy(), means.W_p.T[features])
        with ActivationStore(store) as opened:
            names = opened.class_names() or []
        # the store names images by their paths relative to their folder
        train, test = files.images(self.source)
        name = files.study.sources.clip[self.source].model
        vision = name if ":" in name else None
        folder, latents = test or train, match.latent.tolist()
        pages = top_images(model, store, latents, model=vision, folder=folder, number=number, progress=False)
        assert means.classes is not None, "sources of images have classes"
        classes = [names[means.classes[feature]] for feature in features]
        return list(zip(classes, match.similarity.tolist(), pages.features, strict=True))

    def rows(self, files: Files) -> pd.DataFrame:
        """Return a row for each top image of each latent, by descending activation.

        ``reference`` is the class whose mean the latent's decoder column matches, with the ``cosine``; ``tied`` is
        whether the latent is anchored to it. ``class`` and ``path`` are the image's.
        """
        from sdlcore.evaluation.metrics import TOP_SAMPLES

        rows = [
            (feature.latent, reference, cosine, self.is_tied(feature.latent, i), place, *image[:2], image.class_name)
            for i, (reference, cosine, feature) in enumerate(self.matching_latents(files, TOP_SAMPLES))
            for place, image in enumerate(feature.contexts)
        ]
        columns = ["latent", "reference", "cosine", "tied", "place", "activation", "path", "class"]
        return pd.DataFrame(rows, columns=columns)[[*columns[:6], "class", "path"]]

    def is_tied(self, latent: int, number: int) -> bool:
        """Return whether a latent is anchored to the class that it is shown for: the first latents are."""
        return self.anchoring != "none" and latent == number

    def draw(self, rows: pd.DataFrame, files: Files) -> Figure:
        """Draw a row for each latent that responds to any image: its top images, and a histogram of their classes."""
        how = "not anchored" if self.anchoring == "none" else f"anchored to {label_anchoring(self.anchoring)}"
        title = f"{label_method(self.method)}, {how}, on {self.source}, seed {self.cell(files.study).seed}"
        latents = [(reference, feature.contexts) for reference, _, feature in self.matching_latents(files, IMAGES)]
        latents = [(reference, images) for reference, images in latents if images]
        groups = dict(iter(rows.groupby("reference")))
        size = 1.0 * IMAGES + 3.4, 1.45 * len(latents) + 0.5
        figure = Figure(figsize=size, layout="constrained")
        figure.suptitle(in_figure(title, LONGEST_TITLE), fontsize=10, x=0.01, ha="left")
        ratios = [*[1.0] * IMAGES, 3.2]
        grid = figure.add_gridspec(max(1, len(latents)), IMAGES + 1, width_ratios=ratios)
        for i, (reference, images) in enumerate(latents):
            for j in range(IMAGES):
                axes = figure.add_subplot(grid[i, j])
                axes.set_axis_off()
                if j < len(images):
                    _draw_picture(axes, images[j].picture, images[j].heat)
                    # wrapped, so that neighbouring names do not overlap
                    lines = wrap(in_figure(images[j].class_name, 3 * LONGEST_LINE), LONGEST_LINE)
                    axes.set_title("\n".join(lines[:3]), fontsize=5.5, pad=2)
            _draw_histogram(figure.add_subplot(grid[i, IMAGES]), groups[reference])
        return figure


def _draw_picture(axes: Axes, picture: Any, heat: np.ndarray | None) -> None:
    """Draw a picture; with activations at its patches, in grey below a heat map."""
    axes.imshow(picture if heat is None else picture.convert("L").convert("RGB"))
    if heat is not None:
        colour = np.broadcast_to(to_rgb(PALETTE[1]), (*heat.shape, 3))
        extent = (-0.5, picture.width - 0.5, picture.height - 0.5, -0.5)
        axes.imshow(np.dstack([colour, 0.75 * heat / max(heat.max(), 1e-12)]), extent=extent, interpolation="nearest")


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
