"""Where does training the rows matter, once codes are good? Seven kinds of rows, each with five kinds of codes.

    python -m studies.rows_and_codes.nulls errors --layers 12 --seeds 0 1 2     codes_nulls.csv
    python -m studies.rows_and_codes.nulls losses --layers 12 --seeds 0 1 2     codes_nulls_kl.csv

`studies.answers` extracts the activations: SmolLM2-135M after block 6, 12 or 24, 200,000 tokens for training and 10,000
of other articles for the test. A dictionary has 2,048 rows; principal components have two rows for each of 576
dimensions. An interrupted command continues. Predictions are in `codes_nulls_predictions.csv`.

Rows: TopK (k = 32) after 500, 2,000 and 8,000 steps; and four that no gradient trained: random samples, k-means,
principal components with both signs, and random directions. Each of these four gets an encoder, trained for 2,000 steps
of 1,024 samples with frozen rows. Codes:

- encoder, k: the trained encoder, with another k after training;
- encoder, threshold: its pre-activations above one threshold, which gives the L0 on training activations;
- OMP: orthogonal matching pursuit that ends at a threshold with this L0;
- posterior: posterior codes, which choose their own L0; and OMP at that L0.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

import sdlcore as sdl
from sdlcore.inside.hooks import sites_of
from sdlcore.inside.reader import Reader
from sdlcore.inside.score import losses_recovered, reconstruction_by
from studies import KEPT
from studies.anchoring_effect.runs import made_with
from studies.answers import smollm2
from studies.rows_and_codes.codes import Coded, batchtopk_at, mean_l0
from studies.rows_and_codes.real import MODEL, articles, cached
from studies.tables import add, finished

FOLDER = Path("results/codes_nulls")
N_Q, K = 2048, 32
TUNING = 4096
"""Training activations that thresholds are set on."""
L0S, L0S_IN_MODEL = (8, 16, 32, 64), (16, 32)
CONTEXTS = 64
TRAINED = {f"TopK, {steps} steps": steps for steps in (500, 2000, 8000)}
ROWS = (*TRAINED, "random samples", "k-means", "principal components", "random directions")
KEYS = ["layer", "seed", "rows", "codes", "target"]


def untrained_rows(kind: str, x: np.ndarray, seed: int) -> np.ndarray:
    """Return rows for centred activations (N x n_p)."""
    rng = np.random.default_rng(seed)
    if kind == "random samples":
        return x[rng.choice(len(x), N_Q, replace=False)]
    if kind == "random directions":
        return rng.standard_normal((N_Q, x.shape[1])).astype(np.float32)
    if kind == "principal components":
        components = np.linalg.eigh(x.T @ x)[1].T
        return np.concatenate([components, -components])
    from sklearn.cluster import MiniBatchKMeans

    found = MiniBatchKMeans(N_Q, init="random", batch_size=4096, max_iter=10, n_init=1, random_state=seed).fit(x)
    return np.asarray(found.cluster_centers_, np.float32)


def dictionary(kind: str, x: np.ndarray, layer: int, seed: int) -> sdl.Dictionary:
    """Return the rows with a trained encoder."""
    out = FOLDER / f"layer{layer}_seed{seed}" / kind.replace(", ", "_").replace(" ", "_")
    common: dict[str, Any] = {"seed": seed, "device": "cpu", "progress": False, "out": out}
    if kind in TRAINED:
        settings: dict[str, Any] = {"activation": "topk", "k": K, "n_q": N_Q, "batch_size": 512, "lr": 3e-3}
        return sdl.fit(x, steps=TRAINED[kind], **settings, **common)
    mean = x.mean(0, dtype=np.float64).astype(np.float32)
    rows = functional.normalize(torch.from_numpy(untrained_rows(kind, x - mean, seed)))
    coder = sdl.SparseCoder(x.shape[1], n_q=len(rows), activation="topk", k=K, decoder_norm="unit")
    with torch.no_grad():
        coder.W_enc.copy_(rows)
        coder.W_dec.copy_(rows)
        coder.b_dec.copy_(torch.from_numpy(mean))
        coder.b_enc.copy_(-rows @ torch.from_numpy(mean))
    return sdl.reencode(sdl.Dictionary(coder.eval()), x, "topk", K, steps=2000, **common)


def with_k(trained: sdl.Dictionary, k: int) -> sdl.Dictionary:
    return rebuilt(trained, activation="topk", k=k)


def with_threshold(trained: sdl.Dictionary, tuning: Tensor, l0: float) -> sdl.Dictionary:
    return batchtopk_at(rebuilt(trained, activation="batchtopk", k=K), tuning, l0)


def rebuilt(trained: sdl.Dictionary, **changes: Any) -> sdl.Dictionary:
    """Return a dictionary with the same weights and another activation."""
    old = trained.coder
    coder = sdl.SparseCoder.from_config(old.config.changed(**changes), old.input_sites, old.target_sites)
    coder.load_state_dict(coder.state_dict() | old.state_dict())
    return sdl.Dictionary(coder.eval())


def kinds(trained: sdl.Dictionary, x: np.ndarray, l0s: tuple[int, ...]) -> Iterator[tuple[str, str, Callable[[], Any]]]:
    """Yield each kind of codes with its target L0 and a function that finds the dictionary."""
    tuning = torch.from_numpy(x[:TUNING])
    search = partial(sdl.search, trained, x[: 2 * TUNING], "omp", n_samples=TUNING, progress=False)
    for l0 in l0s:
        yield "encoder, k", str(l0), partial(with_k, trained, l0)
        yield "encoder, threshold", str(l0), partial(with_threshold, trained, tuning, l0)
        yield "OMP", str(l0), partial(search, l0=l0)
    posterior = sdl.search(trained, x, progress=False)
    yield "posterior", "own", lambda: posterior
    yield "OMP", "posterior", lambda: search(l0=mean_l0(Coded.from_dictionary(posterior), tuning))


def errors(layer: int, seed: int) -> None:
    """Add the FVU and L0 of all rows and codes."""
    train, test = smollm2(layer=layer)
    for kind in ROWS:
        table = KEPT / "codes_nulls.csv"
        done = finished(table, KEYS)
        if (str(layer), str(seed), kind, "OMP", "posterior") in done:
            continue
        trained = dictionary(kind, train, layer, seed)
        for codes, target, find in kinds(trained, train, L0S):
            began = time.process_time()
            found = find()
            tuned = time.process_time()
            scores = sdl.evaluate(found, x=test, nulls=False)
            row = {"layer": layer, "seed": seed, "rows": kind, "codes": codes, "target": target}
            row |= {name: scores[name] for name in ("fvu", "l0", "dead_fraction")}
            row |= {"tuning_seconds": tuned - began, "scoring_seconds": time.process_time() - tuned}
            add(table, [row | made_with()], KEYS)
            print(layer, seed, kind, codes, target, row["fvu"], row["l0"], flush=True)


def losses(layer: int, seed: int) -> None:
    """Add the KL divergence of each held-out context with each dictionary in the model."""
    train, _ = smollm2(layer=layer)
    for kind in ROWS:
        table = KEPT / "codes_nulls_kl.csv"
        if any(key[:3] == (str(layer), str(seed), kind) for key in finished(table, KEYS)):
            continue
        trained = dictionary(kind, train, layer, seed)
        found = {(codes, target): find() for codes, target, find in kinds(trained, train, L0S_IN_MODEL)}
        reader = Reader(cached(MODEL), articles("test"), torch.device("cpu"), contexts_per_batch=1)
        sites = sites_of(trained.coder, reader.stack, layer=layer, place=None)
        skipped, mean = reader.kinds(sites), torch.from_numpy(train.mean(0))
        rebuild = {name: reconstruction_by(each.coder) for name, each in found.items()}
        kl: dict[tuple[str, str], list[float]] = {name: [] for name in found}
        for context in reader.contexts(CONTEXTS):
            for name, loss in losses_recovered(reader.lm, rebuild, [context], sites, "sae", skipped, mean).items():
                kl[name].append(loss.kl_spliced)
        identity = {"layer": layer, "seed": seed, "rows": kind}
        rows = [
            identity
            | {"codes": codes, "target": target, "kl": float(np.mean(values))}
            | {f"context_{number}": value for number, value in enumerate(values)}
            | made_with()
            for (codes, target), values in kl.items()
        ]
        add(table, rows, KEYS)
        print(layer, seed, kind, "in the model", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Score rows and codes of SmolLM2 beside null baselines.")
    parser.add_argument("part", choices=("errors", "losses"))
    parser.add_argument("--layers", type=int, nargs="+", default=[12])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    torch.set_num_threads(1)
    for layer in options.layers:
        for seed in options.seeds:
            (errors if options.part == "errors" else losses)(layer, seed)


if __name__ == "__main__":
    main()
