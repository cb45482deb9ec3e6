"""Record L0 over the steps of trainings with several `target_l0`: `python -m benchmarks.l0_targets`.

The activations are those of SmolLM2-135M in the default pipeline:

    snakemake results/quick/activations/smollm2/{train,test}.h5 --cores all
    python -m benchmarks.l0_targets --stores results/quick/activations/smollm2

Writes results/l0_targets.csv, the table of docs/sparsity.md and docs/images/l0_targets.png. Runs in the CSV file are
not trained again; without ``--stores``, only the table and the picture are made.
"""

import argparse
import warnings
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from matplotlib.figure import Figure

import sdlcore as sdl
from benchmarks.shown import show
from sdlstudy.rendering.figures import GREY, PALETTE, save_png, style
from sdlstudy.results.tables import read_csv, write_csv

DOCS = Path(__file__).parents[1] / "docs"
CSV = Path(__file__).parent / "results/l0_targets.csv"
PAGE, PICTURE = DOCS / "sparsity.md", DOCS / "images/l0_targets.png"
BEGINS = "<!-- made by python -m benchmarks.l0_targets -->"
TARGETS = (4, 8, 16, 32, 64)
METHODS: dict[str, dict[str, Any]] = {
    "ReLU": {"activation": "relu", "l1": 0.1, "bias": True},
    "Gated": {"activation": "gated", "l1": 0.1, "bias": True, "decoder_norm": "unit"},
    "Gated, decoder_norm free": {"activation": "gated", "l1": 0.1, "bias": True},
    "JumpReLU": {"activation": "jumprelu", "l0": 1.0, "bandwidth": 1.5, "lr": 3e-3, "l0_gain": 0.005},
    "JumpReLU, l0_gain 0.02": {"activation": "jumprelu", "l0": 0.03, "bandwidth": 1.5, "lr": 3e-3},
    "JumpReLU, l0_gain 0.02, lr 0.001": {"activation": "jumprelu", "l0": 0.03, "bandwidth": 1.5},
}
TRAINING: dict[str, Any] = {"n_q": 512, "steps": 800, "batch_size": 256, "progress": False, "device": "cpu"}
SETTLED = 200
"""Last steps, over which the table averages L0."""
SHOWN = ("ReLU", "Gated", "JumpReLU")
"""Methods in the table and in the picture."""
KEYS = ["method", "target", "seed"]


def measure(method: str, target: int, seed: int, stores: Path) -> list[dict[str, Any]]:
    """Train a dictionary; return its history, with L0 and FVU of held-out samples in the last row."""
    settings = METHODS[method] | TRAINING | {"target_l0": target, "init_l0": target, "seed": seed}
    sae = sdl.fit(stores / "train.h5", **settings)
    scores = sdl.evaluate(sae, x=stores / "test.h5", nulls=False)
    rows: list[dict[str, Any]] = [
        {"method": method, "target": target, "seed": seed, **{name: row[name] for name in ("step", "l0", "fvu")}}
        for row in sae.history
    ]
    rows[-1] |= {"held_out_l0": scores["l0"], "held_out_fvu": scores["fvu"]}
    return rows


def table(rows: pd.DataFrame) -> str:
    """Return a table of L0 in training, over the last `SETTLED` steps, and held out: a row for each target."""
    methods = [name for name in SHOWN if name in set(rows["method"])]
    lines = ["| `target_l0` | " + " | ".join(f"{name}: training, held out" for name in methods) + " |"]
    lines.append("|---" * (1 + len(methods)) + "|")
    late = rows[rows["step"] > rows["step"].max() - SETTLED]
    means = late.groupby(["target", "method"])[["l0", "held_out_l0"]].mean().unstack("method")
    for target, l0 in means.iterrows():
        cells = [f"{l0['l0', name]:.1f}, {l0['held_out_l0', name]:.1f}" for name in methods]
        lines.append(f"| {target} | {' | '.join(cells)} |")
    return "\n".join(lines)


def figure(rows: pd.DataFrame) -> Figure:
    """Draw L0 over the steps, a panel for each method and a line for each target."""
    methods = [name for name in SHOWN if name in set(rows["method"])]
    with style():
        drawn = Figure(figsize=(3.2 * len(methods), 2.9), layout="constrained")
        panels = drawn.subplots(1, len(methods), sharey=True, squeeze=False)[0]
        for axes, method in zip(panels, methods, strict=True):
            of_method = rows[rows["method"] == method]
            for colour, (target, its) in zip(PALETTE, of_method.groupby("target"), strict=False):
                axes.axhline(target, color=GREY, linewidth=0.8, linestyle="--")
                for _, run in its.groupby("seed"):
                    axes.plot(run["step"], run["l0"], color=colour, linewidth=1.2)
            axes.set_yscale("log", base=2)
            axes.set_yticks(sorted(rows["target"].unique()), sorted(rows["target"].unique()))
            axes.set_title(method)
            axes.set_xlabel("step")
        panels[0].set_ylabel("L0 (dashed: target_l0)")
    return drawn


def missing(options: argparse.Namespace, rows: pd.DataFrame) -> Iterator[tuple[str, int, int]]:
    """Yield method, target and seed of the runs that are not in the rows."""
    done = set(rows[KEYS].itertuples(index=False, name=None))
    yield from (run for run in product(options.methods, options.targets, options.seeds) if run not in done)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stores", type=Path, help="folder with train.h5 and test.h5")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(SHOWN))
    parser.add_argument("--targets", type=int, nargs="+", default=TARGETS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--csv", type=Path, default=CSV, help="another file, which no page shows")
    options = parser.parse_args(argv)
    warnings.simplefilter("ignore")  # short trainings leave much unexplained
    torch.set_num_threads(1)
    rows = read_csv(options.csv) if options.csv.exists() else pd.DataFrame(columns=KEYS)
    for run in missing(options, rows) if options.stores else ():
        rows = pd.concat([rows, pd.DataFrame(measure(*run, options.stores))], ignore_index=True)
        write_csv(options.csv, rows.round(4))
        print(*run, rows["held_out_l0"].iloc[-1], rows["held_out_fvu"].iloc[-1], flush=True)
    if options.csv == CSV:
        show(PAGE, BEGINS, table(rows))
        save_png(figure(rows), PICTURE)


if __name__ == "__main__":
    main()
