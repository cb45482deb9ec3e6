"""Figures 9 and 10: the images that activate a run's latents most."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Le

from sdlstudy.products.product import Picture
from sdlstudy.settings.cells import Cell
from sdlstudy.settings.fields import Identifier
from sdlstudy.settings.files import Files
from sdlstudy.settings.names import METHOD, PROTOCOL, unknown
from sdlstudy.settings.study import Study

Images = Annotated[int, Ge(1), Le(1000)]


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
    rows: Images = 4
    """Number of latents shown. For each of the first anchored classes, the latent whose decoder column matches it best
    is shown. A run without anchors shows the same classes."""
    images: Images = 10
    """Number of images for each latent."""

    def cell(self, study: Study) -> Cell:
        """Return the run that is shown, with the first seed."""
        return Cell(self.source, self.method, self.protocol, self.anchoring, study.seeds[0])

    def cells(self, study: Study) -> list[Cell]:
        return [self.cell(study)]

    def at_most(self, study: Study) -> int:
        return 1

    def anchorings_on(self, study: Study, source: str) -> set[str]:
        return {self.anchoring} if source == self.source else set()

    def used(self, study: Study) -> Study:
        # a run without anchors shows the classes that other runs are anchored to, so it depends on all anchorings
        return super().used(study).model_copy(update={"anchorings": study.anchorings})

    def unknown_names(self, path: str, study: Study) -> Iterator[str]:
        yield from unknown(f"{path}.source", [self.source], study.sources.clip, "a source under sources.clip")
        yield from unknown(f"{path}.method", [self.method], study.methods, METHOD)
        yield from unknown(f"{path}.protocol", [self.protocol], study.protocols, PROTOCOL)
        from_classes = [name for name, anchoring in study.anchorings.items() if anchoring.discover is None]
        expected = "none or an anchoring that is drawn from classes"
        yield from unknown(f"{path}.anchoring", [self.anchoring], ["none", *from_classes], expected)
        if not study.anchorings:
            yield f"{path}: there are no anchorings, whose classes the figure shows; set anchorings, or {path} to null"

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

    def make(self, files: Files) -> None:
        import pandas as pd

        from sdlcore.data.anchors import load_anchors
        from sdlcore.data.reading import ActivationStore
        from sdlcore.data.references import load_references
        from sdlcore.evaluation.ground_truth import anchored_features
        from sdlcore.evaluation.recovery import one_to_one
        from sdlcore.evaluation.samples import find_top_samples
        from sdlcore.model.saving import load_model
        from sdlstudy.rendering.labels import label_anchoring, label_method
        from sdlstudy.rendering.top_images import ShownLatent, figure_top_images, records

        model_file, store, references, anchors, *_ = self.inputs(files)
        model, means = load_model(model_file), load_references(references)
        features = anchored_features(load_anchors(anchors), means)[: self.rows]
        match = one_to_one(model.W_dec.detach().numpy(), means.W_p.T[features])
        with ActivationStore(store) as opened:
            if means.classes is None or not opened.has("labels") or not opened.has("references/path"):
                raise ValueError(f"{store}: expected a store of labelled images, and class means in {references}")
            top = find_top_samples(model, opened, match.latent)
            names, labels = opened.class_names() or [], opened.read("labels")
            paths = opened.read("references/path")
        # the store names images by their paths relative to their folder
        train, test = files.images(self.source)
        folder, anchored = Path(test or train), self.anchoring != "none"
        rows = []
        for i, feature in enumerate(features):
            samples = [int(sample) for sample in top.samples[i] if sample >= 0]
            rows.append(
                ShownLatent(
                    latent=int(match.latent[i]),
                    reference=names[means.classes[feature]],
                    cosine=float(match.similarity[i]),
                    tied=anchored and int(match.latent[i]) == i,
                    images=[folder / paths[sample] for sample in samples[: self.images]],
                    names=[names[labels[sample]] for sample in samples[: self.images]],
                    histogram=[(names[label], count) for label, count in top.class_histogram(labels, i)],
                )
            )
        how = f"anchored to {label_anchoring(self.anchoring)}" if anchored else "not anchored"
        seed = self.cell(files.study).seed
        title = f"{label_method(self.method)}, {how}, on {self.source}, seed {seed}"
        figure = figure_top_images(rows, self.images, title)
        self.write(files, figure, pd.DataFrame(records(rows, top, paths, labels, names)))
        for row in rows:
            logging.info("latent %d (%s): %s", row.latent, row.reference, row.histogram)
