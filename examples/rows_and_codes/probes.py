"""Do searched codes separate topics better than the trained encoder's? Probes on SmolLM2's activations.

    python -m examples.rows_and_codes.probes results/methods_long --seeds 0 1 2

It reads the BatchTopK dictionaries of ``config/methods_long.yaml`` and the activations that they were trained on, whose
articles have topics. `sdl.probe` fits to one half of the articles and judges on the others. Scores, the mean AUC over
topics, go to ``docs/results/posterior/probes.csv``.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

import sdlcore as sdl
from examples.rows_and_codes.codes import Coded, mean_l0
from examples.rows_and_codes.real import TEXT, TUNING, at_l0, write
from sdlcore.pipeline import open_checked, read_labels
from sdlcore.sources.language.references import local_text

K = (1, 4, 16)
"""Latents that a probe reads."""


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=(0, 1, 2))
    parser.add_argument("--tokens", type=int, default=60_000)
    parser.add_argument("--table", type=Path, default=Path("docs/results/posterior/probes.csv"))
    arguments = parser.parse_args(argv)
    topics = [None if label == "Uncategorized" else label for label in read_labels(local_text(TEXT), "topic")]
    with open_checked(arguments.results / "activations/smollm2_200k/train.h5") as store:
        x = store.read("input", 0, arguments.tokens).astype(np.float32)
        documents = store.read("references/document", 0, arguments.tokens)
    for seed in arguments.seeds:
        run = arguments.results / f"runs/smollm2_200k/batchtopk/l0_32/none/seed{seed}"
        trained = sdl.load(run / "model.safetensors")
        posterior = sdl.search(trained, x, progress=False)
        tuning = torch.from_numpy(x[np.random.default_rng(seed).permutation(len(x))[:TUNING]])
        l0 = mean_l0(Coded.from_dictionary(posterior), tuning)
        dictionaries = {
            "trained encoder": trained,
            "trained encoder, equal L0": at_l0(trained, tuning, l0),
            "posterior": posterior,
            "OMP with a threshold": sdl.search(posterior, tuning, "omp", l0=l0, progress=False),
        }
        probes = sdl.probe(dictionaries, x, dict(enumerate(topics)), documents=documents, k=K, nulls=False, seed=seed)
        auc = probes.to_frame().pivot_table("auc", "features", "k")
        write(
            arguments.table,
            [{"seed": seed, "codes": codes} | {f"auc_{k}": auc.loc[codes, k] for k in K} for codes in dictionaries],
        )


if __name__ == "__main__":
    main()
