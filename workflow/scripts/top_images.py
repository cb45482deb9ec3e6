"""Draw the images that activate a run's latents most (figures 9 and 10), and list them."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from sdlcore.command_line import cli
from sdlcore.data.anchors import load_anchors
from sdlcore.data.reading import ActivationStore, open_checked
from sdlcore.data.references import load_references
from sdlcore.evaluation.given import given_away
from sdlcore.evaluation.recovery import one_to_one
from sdlcore.evaluation.top_samples import TopSamples, class_histogram
from sdlcore.model.saving import load_model
from sdlcore.model.sparse_coder import SparseCoder
from sdlcore.study.products.figures import save_figure
from sdlcore.study.products.markup import label_anchoring, label_method
from sdlcore.study.products.top_images import TopImages, figure_top_images
from sdlcore.study.results.tables import write_csv

ROWS_AT_ONCE = 1024


def main(
    *,
    model: Path,
    store: Path,
    images: Path,
    references: Path,
    anchors: Path,
    settings: dict[str, Any],
    png: Path,
    pdf: Path,
    summary: Path,
) -> None:
    """
    Args:
        store: activation store of images that training did not see
        images: folder that the store's paths are relative to
        references: means of classes
        anchors: which classes are anchored, in this run or those it is compared with
        settings: the run, rows, images
        summary: CSV file to write: one row an image
    """
    anchored = settings["anchoring"] != "none"
    coder, means = load_model(model), load_references(references)
    features = given_away(load_anchors(anchors), means)[: settings["rows"]]
    match = one_to_one(coder.W_dec.detach().numpy(), means.W_p.T[features])
    with open_checked(store) as opened:
        if means.classes is None or not opened.has("labels") or not opened.has("references/path"):
            raise ValueError(f"{store}: expected a store of labelled images, judged by means of their classes")
        top = _top(coder, opened, match.latent)
        names, labels = opened.class_names() or [], opened.read("labels")
        paths = opened.read("references/path")
    rows = []
    for i, feature in enumerate(features):
        samples = [int(sample) for sample in top.samples[i] if sample >= 0]
        rows.append(
            TopImages(
                latent=int(match.latent[i]),
                reference=names[means.classes[feature]],
                cosine=float(match.similarity[i]),
                tied=anchored and int(match.latent[i]) == i,
                images=[images / paths[sample] for sample in samples[: settings["images"]]],
                names=[names[labels[sample]] for sample in samples[: settings["images"]]],
                histogram=[(names[label], count) for label, count in class_histogram(top, labels, i)],
            )
        )
    how = f"anchored to {label_anchoring(settings['anchoring'])}" if anchored else "not anchored"
    title = f"{label_method(settings['method'])}, {how}, on {settings['source']}, seed {settings['seed']}"
    save_figure(figure_top_images(rows, settings["images"], title), png, pdf)
    write_csv(summary, pd.DataFrame(_records(rows, top, paths, labels, names)))
    for row in rows:
        logging.info("latent %d (%s): %s", row.latent, row.reference, row.histogram)


def _top(model: SparseCoder, store: ActivationStore, latents: np.ndarray) -> TopSamples:
    top = TopSamples.none(len(latents))
    with torch.no_grad():
        for start in range(0, store.rows, ROWS_AT_ONCE):
            x = torch.from_numpy(store.read("input", start, start + ROWS_AT_ONCE).astype(np.float32))
            top = top.with_batch(model.encode(x)[:, torch.from_numpy(latents)].numpy(), start)
    return top


def _records(
    rows: list[TopImages], top: TopSamples, paths: np.ndarray, labels: np.ndarray, names: list[str]
) -> list[dict[str, object]]:
    return [
        {
            "latent": row.latent,
            "reference": row.reference,
            "cosine": row.cosine,
            "tied": row.tied,
            "place": place,
            "activation": float(value),
            "class": names[labels[sample]],
            "path": paths[sample],
        }
        for i, row in enumerate(rows)
        for place, (value, sample) in enumerate(zip(top.values[i], top.samples[i], strict=True))
        if sample >= 0
    ]


if __name__ == "__main__":
    cli(main)
