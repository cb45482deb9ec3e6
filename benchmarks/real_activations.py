"""Measure the effect of settings on a language model's activations: `python -m benchmarks.real_activations`.

Each variant is TopK on the residual stream of SmolLM2-135M after layer 12, scored on held-out tokens. It takes an hour
on one core. The activations come from the pipeline, in five minutes:

    snakemake results/real/activations/smollm2/{train,test}.h5 --cores all --configfile benchmarks/real_activations.yaml
    python -m benchmarks.real_activations --stores results/real/activations/smollm2

Rows are written one by one to a CSV file, and rows that exist are not measured again. At the end docs/training.md shows
their means over seeds.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from benchmarks.shown import show

CSV = Path(__file__).parent / "results/real_activations.csv"
PAGE = Path(__file__).parents[1] / "docs/training.md"
BEGINS = "<!-- made by python -m benchmarks.real_activations -->"
COMMON: dict[str, Any] = {"activation": "topk", "k": 32, "n_q": 4608, "batch_size": 1024, "steps": 2000}
COMMON |= {"resample_every": None, "resample_until": 0.8}
OLD: dict[str, Any] = {"normalise": False, "bias": False}
"""The defaults until November 2026."""
SCALED: dict[str, Any] = {"normalise": True, "bias": True}
AUXILIARY: dict[str, Any] = SCALED | {"lambda_aux": 1 / 32}
UNIT: dict[str, Any] = {"decoder_norm": "unit", "initialisation": "tied"}
WAYS: tuple[dict[str, Any], ...] = (
    OLD,
    {"normalise": True, "bias": False},
    SCALED,
    SCALED | {"lr": 3e-4},
    SCALED | {"lr": 3e-3},
    SCALED | {"resample_every": 200},
    AUXILIARY,
    SCALED | UNIT,
    AUXILIARY | UNIT,
    {"whiten": True, "bias": True},
)


def label(way: dict[str, Any]) -> str:
    """Return settings in the notation of configurations."""
    return ", ".join(f"`{key}: {str(value).lower()}`" for key, value in way.items())


def table(rows: pd.DataFrame) -> str:
    """Return the table of means over seeds, ± half their range."""
    lines = ["| settings | variance unexplained | dead latents |", "|---|---|---|"]
    for way, its in rows.groupby("settings", sort=False):
        spread = (its["fvu"].max() - its["fvu"].min()) / 2
        lines.append(f"| {way} | {its['fvu'].mean():.4f} ± {spread:.4f} | {its['dead_fraction'].mean():.1%} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stores", type=Path, required=True, help="folder with train.h5 and test.h5")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--csv", type=Path, default=CSV, help="another file, which no page shows")
    options = parser.parse_args()
    import sdlcore as sdl
    from sdlstudy.results.tables import read_csv, write_csv

    torch.set_num_threads(options.threads)
    rows: list[Any] = read_csv(options.csv).to_dict("records") if options.csv.exists() else []
    there = {(row["settings"], row["seed"]) for row in rows}
    for seed in options.seeds:
        for way in WAYS:
            if (label(way), seed) in there:
                continue
            started = time.perf_counter()
            sae = sdl.fit(options.stores / "train.h5", seed=seed, progress=False, **COMMON, **way)
            row = {"settings": label(way), "seed": seed, "seconds": round(time.perf_counter() - started, 1)}
            scores = sdl.evaluate(sae, x=options.stores / "test.h5", nulls=False).to_dict()
            rows.append(row | {name: scores[name] for name in ("fvu", "l0", "dead_fraction")})
            write_csv(options.csv, pd.DataFrame(rows))
            print(rows[-1], flush=True)
    if options.csv == CSV:
        show(PAGE, BEGINS, table(pd.DataFrame(rows)))


if __name__ == "__main__":
    main()
