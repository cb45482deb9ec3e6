"""Do true anchors help a ReLU whose penalty and learning rate are tuned? One CSV row a run.

    python -m studies.anchoring_effect.tuned pilot resources/kept/anchoring_tuned_pilot.csv
    python -m studies.anchoring_effect.tuned runs resources/kept/anchoring_tuned_runs.csv

The setting is the one in which anchors help most in `anchoring_effect_runs.csv`: 5 % of 1,000 features are active, ReLU
has 16,000 latents and trains for 784 steps without clipping. There, ReLU had about 600 active latents for 50 active
features. Here the penalty runs from that value up to sixteen times as much. The pilot chooses one learning rate for
each penalty, without anchors, on a seed that is not scored.

An interrupted command continues: runs with a row in the table are skipped. The runs come seed by seed,
first with the best penalty of the pilot and with .1.

The arms, all judged on the 900 features that are not anchored:

- none: no anchors;
- true: the loss ties 100 latents to the directions of 100 features, with weight .1;
- random: the same loss, with directions of another bench;
- start: 100 latents start at the true directions, and no loss ties them;
- without: no anchors, and samples from which the 100 features are removed.
"""

import argparse
import sys
import time
import warnings
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

import sdlcore as sdl
from studies.anchoring_effect.runs import ANCHORED, COMMON, METHODS, Data, Run, anchors_of, data, judge, made_with
from studies.tables import add, finished

SOURCE = "denser"
STEPS = 784
WEIGHT = 0.1
PENALTIES = (0.1, 0.2, 0.4, 0.8, 1.6)
RATES = (1.25e-4, 2.5e-4, 5e-4, 1e-3, 2e-3)
"""Learning rates of the pilot. The two lowest were added before any scored run: at penalties of .2 and more, 5e-4 was
the best of the first three, and the others recovered nearly nothing."""
ARMS = ("none", "true", "random", "start", "without")
PILOT_SEED = 900
SEEDS = (160, 161, 162, 163, 164)
"""Seeds that no earlier study used."""


@dataclass(frozen=True)
class TunedRun:
    """What identifies a run: the first columns of its row."""

    arm: str
    l1: float
    lr: float
    seed: int

    @property
    def key(self) -> tuple[str, ...]:
        return tuple(str(getattr(self, field.name)) for field in fields(self))


COLUMNS = [field.name for field in fields(TunedRun)]


def pilot_runs() -> list[TunedRun]:
    return [TunedRun("none", l1, lr, PILOT_SEED) for l1 in PENALTIES for lr in RATES]


def scored_runs(pilot: Path) -> list[TunedRun]:
    rates = chosen_rates(pilot)
    parts = ((0.2, 0.1), (0.4, 0.8, 1.6))  # the predictions are about .1 and the pilot's best penalty
    return [TunedRun(arm, l1, rates[l1], seed) for part in parts for seed in SEEDS for l1 in part for arm in ARMS]


def chosen_rates(pilot: Path) -> dict[float, float]:
    """Return for each penalty the learning rate with the highest recovery in the pilot."""
    table = pd.read_csv(pilot)
    if missing := len(pilot_runs()) - len(table):
        sys.exit(f"{pilot} lacks {missing} runs of the pilot; run it first")
    best = table.loc[table.groupby("l1")["recovery_90"].idxmax()]
    return dict(zip(best["l1"].tolist(), best["lr"].tolist(), strict=True))


@lru_cache(1)
def samples_without(seed: int) -> np.ndarray:
    """Return the training samples of a seed without the contributions of the first 100 features."""
    bench = sdl.Bench.draw(seed=seed, n_p=768, max_interference=0.1, n=1000, sparsity=0.95)
    drawn = bench.samples(100_000, "train")
    contributions = drawn.features[:, :ANCHORED] @ np.ascontiguousarray(bench.W_p.T[:ANCHORED], np.float32)
    return np.asarray(drawn.input - contributions, np.float32)


def train(run: TunedRun) -> tuple[sdl.Dictionary, Data]:
    """Return the dictionary of a run, and its data."""
    known = data(SOURCE, False, run.seed)
    kind = run.arm if run.arm in ("true", "random") else "none"
    anchors = anchors_of(untuned(run, kind), known)
    tied: dict[str, Any] = {}
    if anchors is not None:
        tied = {"anchors": anchors[0], "lambda_anchor": WEIGHT, "anchor_form": "frobenius"}
    if run.arm == "start":
        tied = {"start": at_directions(known.W_p[:ANCHORED])}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a large error, which a short training has
        found = sdl.fit(
            samples_without(run.seed) if run.arm == "without" else known.train[0],
            seed=run.seed,
            device="cpu",
            progress=False,
            steps=STEPS,
            gradient_clip=None,
            **COMMON | METHODS["relu_paper"] | {"l1": run.l1, "lr": run.lr},
            **tied,
        )
    return found, known


def at_directions(directions: np.ndarray) -> sdl.Dictionary:
    """Return a ReLU dictionary whose encoder rows and decoder columns are the given unit rows."""
    coder = sdl.SparseCoder(
        directions.shape[1], n_q=len(directions), activation="relu", bias=False, decoder_norm="free"
    )
    with torch.no_grad():
        coder.W_enc.copy_(torch.from_numpy(directions))
        coder.W_dec.copy_(torch.from_numpy(directions))
    return sdl.Dictionary(coder)


def untuned(run: TunedRun, kind: str) -> Run:
    """Return the run of the earlier study that draws the same anchors and is judged by the same rules."""
    number = ANCHORED if kind != "none" else 0
    return Run(SOURCE, "relu_paper", False, STEPS, kind, number, WEIGHT if number else 0.0, run.seed)


def measured(run: TunedRun) -> dict[str, Any]:
    """Train a run and return its row."""
    began, clock = time.process_time(), time.time()
    found, known = train(run)
    row: dict[str, Any] = dict(zip(COLUMNS, run.key, strict=True))
    row |= judge(untuned(run, run.arm if run.arm in ("true", "random") else "none"), found, known)
    row["core_seconds"] = round(time.process_time() - began, 1)
    row["wall_seconds"] = round(time.time() - clock, 1)
    return row | made_with()


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Train the runs that a CSV file does not contain yet.")
    parser.add_argument("part", choices=("pilot", "runs"))
    parser.add_argument("table", type=Path, help="CSV file of finished runs")
    options = parser.parse_args(arguments)
    pilot = options.table.with_name("anchoring_tuned_pilot.csv")
    planned = pilot_runs() if options.part == "pilot" else scored_runs(pilot)
    done = finished(options.table, COLUMNS)
    left = [run for run in planned if run.key not in done]
    print(f"{len(planned) - len(left)} of {len(planned)} runs finished", flush=True)
    torch.set_num_threads(1)
    for run in left:
        row = measured(run)
        add(options.table, [row], COLUMNS)
        print(*run.key, row["recovery_90"], row["l0"], f"{row['core_seconds']} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
