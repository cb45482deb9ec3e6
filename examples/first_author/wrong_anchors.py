"""Do large anchors need to be true? Compare anchors at true features with anchors at random directions.

    python -m examples.first_author.wrong_anchors docs/results/explain/first_author/wrong_anchors.csv

This trains the methods of config/dose.yaml on the same benches, at an anchor weight of 100. Random directions tell a
training nothing about the features, so a gain with them comes from the training's steps. Predicted before the first
run: with clipping, random anchors bring most of the gain of true anchors; without clipping, neither brings a gain.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

import sdlcore as sdl
from sdlcore.data.recovery_rule import recovered
from sdlstudy.results.tables import write_csv

ANCHORED, WEIGHT, TAU = 13, 100.0, 0.95
SEEDS = range(40, 45)
COMMON = {"n_q": 512, "batch_size": 512, "lr": 3e-3, "normalise": False, "bias": False, "resample_every": None}
REGIMES = {
    "topk": (0.97, {"activation": "topk", "k": 16, "steps": 250}),
    "relu_short": (
        0.95,
        {"activation": "relu", "bias": True, "init_l0": 16, "l1": 0.1, "target_l0": 16, "steps": 120},
    ),
}
"""Method -> sparsity of its bench, and its settings in protocol `best`."""


def recoveries(method: str, seed: int, clip: float | None) -> list[dict[str, object]]:
    """Return the recovery of the features from the 14th on, with no anchors, true ones and random ones."""
    sparsity, settings = REGIMES[method]
    bench = sdl.Bench.draw(seed=seed, n=128, n_p=96, sparsity=sparsity, max_interference=0.2)
    x, W = bench.samples(20_000).input, np.ascontiguousarray(bench.W_p.T, np.float32)
    random = np.random.default_rng(seed).standard_normal((ANCHORED, W.shape[1])).astype(np.float32)
    random /= np.linalg.norm(random, axis=1, keepdims=True)
    rows = []
    for name, anchors in (("none", None), ("true", W[:ANCHORED]), ("random", random)):
        tied = {} if anchors is None else {"anchors": anchors, "lambda_anchor": WEIGHT}
        found = sdl.fit(x, seed=seed, **COMMON, **settings, **tied, gradient_clip=clip)
        columns = found.W_dec.detach().numpy()
        columns /= np.linalg.norm(columns, axis=1, keepdims=True)
        hits = recovered(np.abs(W[ANCHORED:] @ columns.T).max(axis=1), TAU)
        rows.append({"method": method, "clip": clip, "seed": seed, "anchors": name, "recovery": float(hits.mean())})
    return rows


def main() -> None:
    rows = [
        row for method in REGIMES for clip in (1.0, None) for seed in SEEDS for row in recoveries(method, seed, clip)
    ]
    table = pd.DataFrame(rows)
    write_csv(Path(sys.argv[1]), table.round(5))
    print(table.fillna({"clip": 0}).groupby(["method", "clip", "anchors"]).recovery.agg(["mean", "std"]).round(3))


if __name__ == "__main__":
    main()
