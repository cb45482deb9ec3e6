"""Measure which latents die if samples have a large mean: `python -m benchmarks.dead_by_mean`.

Samples from a bench are moved by a vector of a multiple of their spread. Dead latents are counted at the end of
trainings that remove the mean in several ways, or do not:

    python -m benchmarks.dead_by_mean --csv benchmarks/results/dead_by_mean.csv
"""

import argparse
import warnings
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import sdlcore as sdl
from sdlcore.random_streams import stream
from sdlstudy.results.tables import write_csv

RATIOS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Norms of the mean, as a multiple of the root mean squared distance from it."""
SEEDS = (0, 1, 2)
METHODS: dict[str, dict[str, Any]] = {
    "topk": {"activation": "topk", "k": 8},
    "batchtopk": {"activation": "batchtopk", "k": 8},
    "relu": {"activation": "relu", "l1": 0.02},
}
CENTRING: dict[str, dict[str, Any]] = {
    "none": {"normalise": False, "bias": False},
    "bias": {"normalise": False},
    "bias, auxiliary loss": {"normalise": False, "lambda_aux": 1 / 32, "k_aux": 48},
    "normalise": {"bias": False},
}
HOW: dict[str, Any] = {"n_q": 512, "batch_size": 512, "lr": 1e-3, "resample_every": None, "progress": False}
"""A latent is dead if none of the last 20,000 samples activated it (``dead_after``)."""


def moved(x: np.ndarray, ratio: float, seed: int) -> np.ndarray:
    """Return samples whose mean has ``ratio`` times the norm of their spread, in a random direction."""
    x = x - x.mean(axis=0)
    direction = stream(seed, "direction of the mean").standard_normal(x.shape[1])
    spread = np.sqrt(x.var(axis=0).sum())
    return np.asarray(x + ratio * spread * direction / np.linalg.norm(direction), dtype=np.float32)


def measure(method: str, seed: int, steps: int) -> Iterator[dict[str, Any]]:
    """Yield a row for each ratio and each way of centring."""
    x = sdl.Bench.draw(n=128, n_p=96, sparsity=0.97, max_interference=0.2, seed=seed).sample(50_000)
    how = HOW | METHODS[method] | {"steps": steps, "seed": seed}
    for ratio in RATIOS:
        for name, dictionary in sdl.fit_many(moved(x, ratio, seed), CENTRING, **how).items():
            last = dictionary.history[-1]
            yield {
                **{"method": method, "centring": name, "ratio": ratio, "seed": seed},
                **{"dead_fraction": round(last["dead_fraction"], 4), "fvu": round(last["fvu"], 4)},
            }


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", type=Path, required=True, help="table to write")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    arguments = parser.parse_args(argv)
    rows: list[dict[str, Any]] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # this benchmark tests the case that they warn of
        for method, seed in product(arguments.methods, arguments.seeds):
            for row in measure(method, seed, arguments.steps):
                rows.append(row)
                write_csv(arguments.csv, pd.DataFrame(rows))
    table = pd.DataFrame(rows)
    print(table.pivot_table(index=["method", "centring"], columns="ratio", values="dead_fraction", sort=False).round(3))


if __name__ == "__main__":
    main()
