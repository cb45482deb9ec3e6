"""What does our recipe know of SynthSAEBench's generator? Replace each such choice by one that does not.

    python -m studies.rows_and_codes.ignorance pilot     rows_ignorance_pilot.csv: learning rates, on seed 100
    python -m studies.rows_and_codes.ignorance runs      rows_ignorance_runs.csv: seeds 50 to 54

Worlds have 1,024 features in 192 dimensions (version 2). A dictionary has 256 latents and sees 2,000 batches of 1,024
new samples, with k = 6. The prefixes 8, 32, 128 and 256 follow the levels of the world's trees (8 roots, 4 children);
even prefixes and halves do not. Each kind of rows gets the learning rate with the highest F1 of its encoder on seed
100. Codes that assume nothing of the generator: the trained encoder and orthogonal matching pursuit, each with one
threshold that reaches an L0 of 5, 6 or 7 on samples that nothing is trained on. Posterior codes assume that an active
latent has a normal strength, and choose their own L0. Refined rows are found by posterior codes. Rows after one step
from random samples show what training adds to them. A command that was interrupted continues. Predictions are in
`rows_ignorance_predictions.csv`.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import sdlcore as sdl
from studies import KEPT
from studies.rows_and_codes.codes import Coded, batchtopk_at, mean_l0
from studies.tables import add, finished, read

FOLDER = Path("results/rows_ignorance")
WORLD: dict[str, int] = {"n": 1024, "n_p": 192, "roots": 8}
SEEDS, PILOT_SEED, RATES = range(50, 55), 100, (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
N_Q, K, STEPS, BATCH = 256, 6, 2_000, 1024
TREES, EVEN, HALVES = [8, 32, 128, 256], [64, 128, 192, 256], [16, 32, 64, 128, 256]
DETACHED: dict[str, Any] = {"prefix_detached": True, "reorder_every": 50}
ROWS: dict[str, dict[str, Any]] = {
    "no prefixes": {},
    "trees, plain": {"prefixes": TREES},
    "trees, detached": {"prefixes": TREES, **DETACHED},
    "even, plain": {"prefixes": EVEN},
    "even, detached": {"prefixes": EVEN, **DETACHED},
    "halves, detached": {"prefixes": HALVES, **DETACHED},
    "one step": {"initialisation": "samples", "steps": 1},
}
L0S = (5, 6, 7)
TUNING, TESTED = 8_192, 20_000
"""Samples that thresholds are set on, and samples that are scored."""
KEYS = ["seed", "rows", "codes", "target"]


def samples(bench: sdl.SynthBench, part: int) -> Callable[[int], Tensor]:
    """Return a function from a step to new samples. Parts have no sample in common."""
    return lambda step: torch.from_numpy(bench.samples(BATCH, first=part * 10**9 + step * BATCH).input)


def trained(bench: sdl.SynthBench, rows: str, seed: int, lr: float) -> sdl.Dictionary:
    settings = {"activation": "batchtopk", "k": K, "n_q": N_Q, "bias": True, "lr": lr, "steps": STEPS, **ROWS[rows]}
    out = FOLDER / f"seed{seed}" / f"{rows}_{lr:g}".replace(", ", "_").replace(" ", "_")
    return sdl.fit(samples(bench, 0), seed=seed, out=out, progress=False, **settings)


def scores(dictionary: sdl.Dictionary, bench: sdl.SynthBench) -> dict[str, float | None]:
    found = sdl.evaluate(dictionary, bench, n_samples=TESTED, nulls=False)
    return {name: found[name] for name in ("detection_f1", "mcc", "l0", "fvu")}


def codings(bench: sdl.SynthBench, rows: str, seed: int, lr: float) -> Iterator[tuple[str, str, sdl.Dictionary]]:
    """Yield the codes, the L0 that they were set to ("own" if to none) and the dictionary."""
    own = trained(bench, rows, seed, lr)
    x = torch.from_numpy(bench.samples(TUNING, first=8 * 10**9).input)
    yield "encoder", "own", own
    posterior = sdl.search(own, samples(bench, 2), "posterior", progress=False)
    yield "posterior", "own", posterior
    refined = sdl.refine(own, samples(bench, 1), rounds=10, progress=False)
    yield "posterior, refined rows", "own", refined
    l0s = {str(l0): float(l0) for l0 in L0S}
    l0s["posterior"] = mean_l0(Coded.from_dictionary(posterior), x)
    for target, l0 in l0s.items():
        yield "OMP", target, sdl.search(own, x, "omp", l0=l0, progress=False)
    refined_l0 = mean_l0(Coded.from_dictionary(refined), x)
    yield "OMP, refined rows", "posterior", sdl.search(refined, x, "omp", l0=refined_l0, progress=False)
    for target, l0 in l0s.items():
        yield "encoder", target, batchtopk_at(own, x, l0)


def pilot(table: Path) -> None:
    bench = sdl.SynthBench.draw(seed=PILOT_SEED, **WORLD)
    for rows in ROWS:
        for lr in RATES:
            if (rows, f"{lr:g}") not in finished(table, ["rows", "lr"]):
                found = scores(trained(bench, rows, PILOT_SEED, lr), bench)
                add(table, [{"rows": rows, "lr": f"{lr:g}", **found}])


def chosen_rates(table: Path) -> dict[str, float]:
    """Return the learning rate of each kind of rows with the highest F1 in the pilot."""
    found = read(table).astype({"detection_f1": float}).sort_values("detection_f1")
    return {str(rows): float(lr) for rows, lr in found.groupby("rows").lr.last().items()}


def runs(table: Path, rates: dict[str, float]) -> None:
    for seed in SEEDS:
        bench = sdl.SynthBench.draw(seed=seed, **WORLD)
        for rows in ROWS:
            done = finished(table, KEYS)
            if (str(seed), rows, "encoder", "posterior") in done:
                continue
            start = time.process_time()
            for codes, target, dictionary in codings(bench, rows, seed, rates[rows]):
                key = {"seed": seed, "rows": rows, "codes": codes, "target": target}
                add(table, [key | scores(dictionary, bench)], KEYS)
            print(rows, seed, f"{time.process_time() - start:.0f} s", flush=True)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("pilot", "runs"))
    parser.add_argument("--folder", type=Path, default=KEPT, help="where the tables are")
    arguments = parser.parse_args(argv)
    rates = arguments.folder / "rows_ignorance_pilot.csv"
    if arguments.part == "pilot":
        pilot(rates)
    else:
        runs(arguments.folder / "rows_ignorance_runs.csv", chosen_rates(rates))


if __name__ == "__main__":
    main()
