"""Recovery if features and models are drawn from the same seed by mistake: `python -m benchmarks.seed_leak`, 2 minutes.

TopK on the default configuration's bench, with and without ``seed_leak``, from both initialisations with random
directions. The protocol is ``paper``, but with three passes and two learning rates. Rows with ``steps: 0`` are the
dictionaries before training. Rows go to docs/results/quick/seed_leak.csv.
"""

import argparse
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

import sdlcore as sdl
from sdlstudy.results.tables import write_csv

HERE = Path(__file__).parent
CSV = HERE.parent / "docs/results/quick/seed_leak.csv"
BENCH: dict[str, Any] = {"n": 128, "n_p": 96, "sparsity": 0.97, "max_interference": 0.2}
TRAIN: dict[str, Any] = {"activation": "topk", "k": 16, "n_q": 2048, "batch_size": 512}
TRAIN |= {"lr_warmup": 0, "lr_decay": 0, "gradient_clip": None}
TRAIN |= {"normalise": False, "bias": False, "resample_every": None}
SAMPLES, STEPS = 20_000, 117
STARTS = ("linear", "tied")
RATES = (1e-4, 1e-3)
METRICS = (
    *("mip_encoder", "mip_encoder_raw", "gt_recovery_encoder", "gt_recovery_encoder_tau95"),
    *("gt_recovery_decoder", "fvu"),
)


def measure(start: str, leak: bool, seed: int) -> list[dict[str, Any]]:
    """Return a row for the initial dictionary, and one for each learning rate."""
    bench = sdl.Bench.draw(seed=seed, seed_leak=leak, **BENCH)
    x = bench.sample(SAMPLES)
    rows = []
    # one step at almost no learning rate keeps the initial dictionary
    for steps, lr in ((1, 1e-12), *((STEPS, rate) for rate in RATES)):
        own: dict[str, Any] = {"initialisation": start, "steps": steps, "lr": lr}
        sae = sdl.fit(x, seed=seed, progress=False, **TRAIN, **own)
        scores = sdl.evaluate(sae, bench, nulls=False).to_dict()
        trained = {"steps": STEPS, "lr": lr} if steps == STEPS else {"steps": 0, "lr": float("nan")}
        facts = {"initialisation": start, "leak": leak, "seed": seed, **trained}
        rows.append(facts | {name: scores[name] for name in METRICS})
    return rows


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    cases = itertools.product(STARTS, (False, True), options.seeds)
    write_csv(CSV, pd.DataFrame([row for case in cases for row in measure(*case)]))


if __name__ == "__main__":
    main(sys.argv[1:])
