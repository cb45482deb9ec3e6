"""Measure the absorption of parents by their children, and draw what dictionaries make of one family (figure 5)."""

import logging
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch

from sdlcore.command_line import cli
from sdlcore.data.reading import open_checked
from sdlcore.data.references import load_references
from sdlcore.evaluation.absorption import Family, absorption, absorption_score, families, match_latents
from sdlcore.model.saving import load_model
from sdlcore.sources.bench.hierarchy import Hierarchy
from sdlcore.study.products.figure5 import Shown, family_of, figure5
from sdlcore.study.products.figures import save_figure
from sdlcore.study.products.markup import label_method
from sdlcore.study.results.tables import write_csv


class Judged(NamedTuple):
    pairs: pd.DataFrame
    families: list[Family]


def main(*, runs: list[dict[str, Any]], hierarchy: Hierarchy, png: Path, pdf: Path, summary: Path) -> None:
    """
    Args:
        runs: method, seed, model, store, references of each run
        hierarchy: parents and children of the bench
        summary: CSV file to write: one row a pair of parent and child of a run
    """
    torch.set_num_threads(1)
    judged = [_judge(run, hierarchy) for run in runs]
    # the family that the first run absorbs most of, in the runs of its seed
    seed, parent = runs[0]["seed"], family_of(judged[0].pairs)
    shown = [
        Shown(
            name=f"{label_method(run['method'])}, seed {seed}",
            family=found.families[parent],
            pairs=found.pairs[found.pairs["parent"] == parent],
            score=absorption_score(found.pairs),
        )
        for run, found in zip(runs, judged, strict=True)
        if run["seed"] == seed
    ]
    save_figure(figure5(shown), png, pdf)
    frames = [
        found.pairs.assign(method=run["method"], seed=run["seed"])[["method", "seed", *found.pairs.columns]]
        for run, found in zip(runs, judged, strict=True)
    ]
    write_csv(summary, pd.concat(frames))
    for run, found in zip(runs, judged, strict=True):
        logging.info("%s, seed %s: absorption %.3f", run["method"], run["seed"], absorption_score(found.pairs))


def _judge(run: dict[str, Any], hierarchy: Hierarchy) -> Judged:
    model, W = load_model(run["model"]), load_references(run["references"]).W_p
    with open_checked(run["store"]) as store:
        x = store.features()
        if x is None:
            raise ValueError(f"{run['store']}: has no features, expected the store of a bench")
        with torch.no_grad():
            latents = model.encode(torch.from_numpy(store.read("input").astype("float32"))).numpy()
    decoder = model.W_dec.detach().numpy()
    own = match_latents(decoder, W)
    found = families(latents[:, own], x, decoder[own], W, hierarchy)
    named = [family._replace(latents=own[family.latents]) for family in found]
    return Judged(absorption(latents[:, own], x, decoder[own], W, hierarchy), named)


if __name__ == "__main__":
    cli(main)
