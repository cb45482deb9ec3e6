"""Compare candidates for the default settings of a training: `python -m benchmarks.default_settings`.

Each candidate trains each method on four data sets, with equal steps: SmolLM2-135M after layer 12, the default study's
small CLIP, the bench of README.md and the bench of config/config.yaml. Dictionaries are scored on held-out samples.
The pipeline makes the activations of SmolLM2 and CLIP:

    snakemake results/defaults/activations/{smollm2,fashion_clip}/{train,test}.h5 --cores all --configfile \
        benchmarks/default_settings.yaml
    python -m benchmarks.default_settings --stores results/defaults/activations

Rows are written one by one to a CSV file, and rows that exist are not measured again.
"""

import argparse
import time
import warnings
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from benchmarks.real_activations import label

CSV = Path(__file__).parent / "results/default_settings.csv"
BENCHES: dict[str, dict[str, Any]] = {
    "bench of README": {"n": 64, "n_p": 48, "sparsity": 0.97, "max_interference": 0.2},
    "bench of config.yaml": {"n": 128, "n_p": 96, "sparsity": 0.97, "max_interference": 0.2},
}
STORES = {"SmolLM2": "smollm2", "CLIP": "fashion_clip"}
DATA: dict[str, dict[str, Any]] = {
    "SmolLM2": {"k": 32, "n_q": 1024, "steps": 1000, "batch_size": 1024},
    "CLIP": {"k": 8, "n_q": 512, "steps": 1000, "batch_size": 256},
    "bench of README": {"k": 8, "n_q": 512, "steps": 500, "batch_size": 1024},
    "bench of config.yaml": {"k": 16, "n_q": 2048, "steps": 250, "batch_size": 512},
}
OLD: dict[str, Any] = {"normalise": False, "bias": False, "resample_every": None}
"""The defaults until November 2026."""
SCALED: dict[str, Any] = OLD | {"normalise": True, "bias": True}
RESAMPLED: dict[str, Any] = SCALED | {"resample_every": 50, "resample_until": 0.5}
CANDIDATES: tuple[dict[str, Any], ...] = (
    OLD,
    SCALED,
    RESAMPLED,
    SCALED | {"lambda_aux": 1 / 32},
    SCALED | {"initialisation": "samples", "init_scale": 1},
    SCALED | {"initialisation": "tied", "init_scale": 1},
)
WITHOUT_K = ("relu", "jumprelu", "gated")
"""Methods whose dead latents are not resampled by default."""
METHODS = ("topk", "batchtopk", "matryoshka", "relu", "jumprelu", "gated")
SCORES = ("fvu", "l0", "dead_fraction", "mip_encoder", "mip_decoder")


def method_settings(method: str, k: int, candidate: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a method that keeps about k latents active."""
    start = {"init_l0": k} if candidate["bias"] or method in ("jumprelu", "gated") else {}
    return {
        "topk": {"activation": "topk", "k": k},
        "batchtopk": {"activation": "batchtopk", "k": k},
        "matryoshka": {"activation": "topk", "k": k, "multi_k": [k // 4, k // 2, k]},
        "relu": {"activation": "relu", "l1": 0.1, "target_l0": k, **start},
        "jumprelu": {"activation": "jumprelu", "l0": 0.03, "target_l0": k, "bandwidth": 1.5, **start},
        "gated": {"activation": "gated", "l1": 0.1, "target_l0": k, "bias": True, **start},
    }[method]


def measure(
    data: str, methods: list[str], candidates: list[dict[str, Any]], seed: int, stores: Path, done: set[tuple[Any, ...]]
) -> Iterator[dict[str, Any]]:
    """Yield a row for each method and each candidate that ``done`` lacks."""
    import sdlcore as sdl

    how = dict(DATA[data])
    k = how.pop("k")
    bench = sdl.Bench.draw(seed=seed, **BENCHES[data]) if data in BENCHES else None
    x = stores / STORES[data] / "train.h5" if bench is None else bench.sample(20_000)
    for candidate, method in product(candidates, methods):
        row = {"data": data, "method": method, "settings": label(candidate), "seed": seed}
        if tuple(row.values()) in done or (candidate["resample_every"] and method in WITHOUT_K):
            continue
        started = time.perf_counter()
        sae = sdl.fit(
            x, seed=seed, lr=1e-3, progress=False, **how, **(candidate | method_settings(method, k, candidate))
        )
        row["seconds"] = round(time.perf_counter() - started, 1)
        test = {"x": stores / STORES[data] / "test.h5"} if bench is None else {"truth": bench}
        scores = sdl.evaluate(sae, nulls=False, **test).to_dict()
        yield row | {name: scores.get(name) for name in SCORES}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stores", type=Path, required=True, help="folder with smollm2 and fashion_clip")
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--candidates", type=int, nargs="+", default=list(range(len(CANDIDATES))))
    parser.add_argument("--csv", type=Path, default=CSV)
    options = parser.parse_args()
    from sdlstudy.results.tables import read_csv, write_csv

    warnings.simplefilter("ignore")  # some candidates cause the failures that warnings announce
    torch.set_num_threads(1)
    rows: list[Any] = read_csv(options.csv).to_dict("records") if options.csv.exists() else []
    done = {(row["data"], row["method"], row["settings"], row["seed"]) for row in rows}
    chosen = [CANDIDATES[number] for number in options.candidates]
    for seed, data in product(options.seeds, options.data):
        for row in measure(data, options.methods, chosen, seed, options.stores, done):
            rows.append(row)
            write_csv(options.csv, pd.DataFrame(rows))
            print(*(row[name] for name in ("data", "method", "settings", "fvu", "dead_fraction")), flush=True)


if __name__ == "__main__":
    main()
