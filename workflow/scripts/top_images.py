"""Draw the images that activate a run's latents most (figures 9 and 10), and list them."""

import argparse
import json
import logging
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch

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


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--store", required=True, help="activation store of images that training did not see")
    parser.add_argument("--images", required=True, type=Path, help="folder that the store's paths are relative to")
    parser.add_argument("--references", required=True, help="means of classes")
    parser.add_argument(
        "--anchors", required=True, help="which classes are anchored, in this run or those it is compared with"
    )
    parser.add_argument("--settings", required=True, type=json.loads, help="JSON: the run, rows, images")
    parser.add_argument("--png", required=True)
    parser.add_argument("--pdf", required=True)
    parser.add_argument("--summary", required=True, help="CSV file to write: one row an image")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    logging.getLogger("fontTools").setLevel(logging.WARNING)  # tells of every glyph that it embeds

    settings = arguments.settings
    anchored = settings["anchoring"] != "none"
    model, references = load_model(arguments.model), load_references(arguments.references)
    features = given_away(load_anchors(arguments.anchors), references)[: settings["rows"]]
    match = one_to_one(model.W_dec.detach().numpy(), references.W_p.T[features])
    with open_checked(arguments.store) as store:
        if references.classes is None or not store.has("labels") or not store.has("references/path"):
            raise ValueError(
                f"{arguments.store}: expected a store of labelled images, judged by means of their classes"
            )
        top = _top(model, store, match.latent)
        names, labels = store.class_names() or [], store.read("labels")
        paths = store.read("references/path")
    rows = []
    for i, feature in enumerate(features):
        samples = [int(sample) for sample in top.samples[i] if sample >= 0]
        rows.append(
            TopImages(
                latent=int(match.latent[i]),
                reference=names[references.classes[feature]],
                cosine=float(match.similarity[i]),
                tied=anchored and int(match.latent[i]) == i,
                images=[arguments.images / paths[sample] for sample in samples[: settings["images"]]],
                names=[names[labels[sample]] for sample in samples[: settings["images"]]],
                histogram=[(names[label], count) for label, count in class_histogram(top, labels, i)],
            )
        )
    how = f"anchored to {label_anchoring(settings['anchoring'])}" if anchored else "not anchored"
    title = f"{label_method(settings['method'])}, {how}, on {settings['source']}, seed {settings['seed']}"
    save_figure(figure_top_images(rows, settings["images"], title), arguments.png, arguments.pdf)
    write_csv(arguments.summary, pd.DataFrame(_records(rows, top, paths, labels, names)))
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
    main()
