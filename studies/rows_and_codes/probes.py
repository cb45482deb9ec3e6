"""Which rows and codes of SmolLM2 separate texts? Four kinds of rows of `studies.rows_and_codes.nulls`, with two codes.

    benchmarks/.venv/bin/python -m studies.rows_and_codes.probes --seeds 0 1 2     codes_nulls_probes.csv

It needs `make peers`, and sae-probes 0.4.2 with zstandard, xgboost and gguf in the same environment. sae-probes brings
the texts, splits them, chooses latents, and fits the probes. The sets are those of ``judged_sae_probes_sets.csv``. Each
row of the table has the AUC of every set. An interrupted command continues. Predictions are in
``codes_nulls_predictions.csv``.
"""

import argparse
import contextlib
import io
import json
from collections.abc import Callable, Iterator
from itertools import islice, product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch
from sae_probes.run_sae_evals import run_sae_eval
from sae_probes.utils_data import read_numbered_dataset_df
from torch import Tensor

import sdlcore as sdl
from studies import KEPT
from studies.anchoring_effect.runs import made_with
from studies.answers import smollm2
from studies.rows_and_codes.nulls import FOLDER, K, dictionary, kinds
from studies.rows_and_codes.real import MODEL, cached
from studies.tables import add, finished

LAYER, HOOK, NAME = 12, "blocks.11.hook_resid_post", "SmolLM2"
RAW = "raw coordinates"
ROWS = (RAW, "TopK, 8000 steps", "k-means", "random samples", "random directions")
CODES = ("encoder, k", "OMP")
SPLIT_SEED = 42
"""sae-probes' default, to which the seed of a dictionary is added."""
SETS = pd.read_csv(KEPT / "judged_sae_probes_sets.csv")["set"].tolist()
TABLE, KEYS = KEPT / "codes_nulls_probes.csv", ["seed", "rows", "codes", "k"]


def write_texts(folder: Path) -> None:
    """Write the activations at the last token of every text where sae-probes looks for them."""
    texts = {name: read_numbered_dataset_df(name)["prompt"].tolist() for name in SETS}
    every = sorted({text for several in texts.values() for text in several})
    with sdl.extract(
        cached(MODEL), every, at=f"resid_post.{LAYER - 1}", out=folder / "texts.h5", tokens="last", bos=True
    ) as store:
        rows = dict(zip([every[number] for number in store.read("document")], store.read("input"), strict=True))
    for name, several in texts.items():
        path = folder / f"model_activations_{NAME}" / f"{name}_{HOOK}.pt"
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(torch.stack([torch.from_numpy(rows[text]).float() for text in several]), path)


def auc(encode: Callable[[Tensor], Tensor], folder: Path, seed: int, name: str) -> dict[int, float]:
    """Return the test AUC of the probes on one set, by number of latents."""
    features: Any = SimpleNamespace(encode=encode)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        run_sae_eval(
            features, name, HOOK, "l1", "normal", NAME, FOLDER, device="cpu", ks=[1, 16], results_path=folder, seed=seed
        )
    (path,) = folder.rglob(f"{name}_{HOOK}_*.json")
    return {result["k"]: result["test_auc"] for result in json.loads(path.read_text())}


def encoders(rows: str, train: np.ndarray, seed: int) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield each kind of codes, with a function that returns an object with ``encode``."""
    if rows == RAW:
        yield "none", lambda: SimpleNamespace(encode=lambda x: x)
        return
    trained = dictionary(rows, train, LAYER, seed)
    for codes, _, find in islice(kinds(trained, train, (K,)), 3):  # without posterior codes
        if codes in CODES:
            yield codes, find


def main() -> None:
    parser = argparse.ArgumentParser(description="Probe the latents of dictionaries of SmolLM2 with sae-probes.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    torch.set_num_threads(1)
    train, _ = smollm2(layer=LAYER)
    if not (FOLDER / f"model_activations_{NAME}").exists():
        write_texts(FOLDER)
    for seed, rows in product(options.seeds, ROWS):
        for codes, find in encoders(rows, train, seed):
            if (str(seed), rows, codes, "16") in finished(TABLE, KEYS):
                continue
            encode, folder = find().encode, FOLDER / "probes" / f"{seed} {rows} {codes}"
            scores = {name: auc(encode, folder, SPLIT_SEED + seed, name) for name in SETS}
            for k in (1, 16):
                key = {"seed": seed, "rows": rows, "codes": codes, "k": k}
                add(TABLE, [key | {name: scores[name][k] for name in SETS} | made_with()], KEYS)
            print(seed, rows, codes, flush=True)


if __name__ == "__main__":
    main()
