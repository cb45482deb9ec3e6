"""Compare TopK trainings from random weights and from `acs` dictionaries: `python -m benchmarks.warm_start`.

The question is after how many steps a warm-started SAE reaches the error of a cold one on held-out samples, at the
paper's scale under protocol ``best``. Each seed has three trainings: from random weights; from the atoms of `acs`, with
as many steps; and from these atoms with a third of the steps and an accordingly shorter learning-rate schedule.
Settings, stores and random streams equal those of Table 1's run. Stores and atoms come from the pipeline:

    snakemake results/paper/runs/lrb/acs/best/none/seed{0,1}/metrics.json --cores 1 --configfile config/paper.yaml
    python -m benchmarks.warm_start --seeds 0 1 --csv docs/results/paper/warm_start.csv
"""

import argparse
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from sdlcore.api.sources import stored
from sdlcore.data.reading import ActivationStore, open_checked
from sdlcore.evaluation.evaluate import evaluate_coder
from sdlcore.model.coder import SparseCoder
from sdlcore.model.saving import load_model
from sdlcore.random_streams import torch_stream
from sdlcore.run import RunConfig
from sdlcore.training import normalisation
from sdlcore.training.history import Row
from sdlcore.training.initialise import start_from_model
from sdlcore.training.loop import train
from sdlcore.training.watch import recovery_watch
from sdlstudy.configuration.loading import read_given, validate
from sdlstudy.results.tables import write_csv
from sdlstudy.settings.cells import Cell, trained_settings

SHARE = 3
"""The short warm training has one over this share of the cold training's steps."""
PAPER = Path("results/paper")


def settings() -> RunConfig:
    """Return the settings of Table 1's TopK under ``best``."""
    study = validate(read_given(["config/config.yaml", "config/paper.yaml"], {}))
    return trained_settings(study, Cell("lrb", "topk", "best", "none", seed=0))


def course(config: RunConfig, seed: int, start: SparseCoder | None) -> pd.DataFrame:
    """Train once, as in the pipeline; return the error over steps, including step 0.

    Columns: ``step``; ``fvu`` and ``l0`` on held-out samples; ``fvu_training`` on batches since the previous row;
    ``gt_recovery_decoder``; ``lr``.
    """
    bench = PAPER / "activations/lrb" / f"seed{seed}"
    recovery = recovery_watch(PAPER / "bench/lrb" / f"seed{seed}" / "feature_matrix.safetensors", "sae")
    with open_checked(bench / "test.h5") as held_out, stored(bench / "train.h5") as source:
        rows = source.training_rows(config, seed)
        sites = (rows.widths[:1], rows.widths[:1])
        model = SparseCoder(config.model, *sites, torch_stream(seed, "initialisation"))
        scaling = normalisation.no_scaling(rows.widths[0], rows.widths[0])
        if start is not None:
            start_from_model(model, start, scaling)

        def look(weights: Mapping[str, Tensor]) -> Row:
            row = {f"held_out_{name}": value for name, value in _held_out(model, held_out).items()}
            return row | recovery(weights)

        first = {"step": 0, **look(scaling.raw_rows(model))}
        history = train(model, rows.batches, config, torch_stream(seed, "resampling"), scaling, watch=look)
    frame = pd.DataFrame([first, *history]).rename(columns={"fvu": "fvu_training"}).drop(columns="l0")
    frame = frame.rename(columns={"held_out_fvu": "fvu", "held_out_l0": "l0"})
    return frame[["step", "fvu", "l0", "fvu_training", "gt_recovery_decoder", "lr"]]


def _held_out(model: SparseCoder, store: ActivationStore) -> dict[str, Any]:
    model.eval()
    metrics, *_ = evaluate_coder(model, store)
    model.train()
    return {name: metrics[name] for name in ("fvu", "l0")}


def reached(course: pd.DataFrame, fvu: float) -> int | None:
    """Return the first evaluated step with a held-out error of at most ``fvu``, or None."""
    there = course.loc[course["fvu"] <= fvu, "step"]
    return None if there.empty else int(there.iloc[0])


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--csv", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(arguments.threads)

    config = settings()
    steps = config.training.steps
    shorter = config.changed(training=config.training.changed(steps=steps // SHARE))
    courses = []
    for seed in arguments.seeds:
        found = load_model(PAPER / "runs/lrb/acs/best/none" / f"seed{seed}" / "model.safetensors")
        final = None
        for start, run in ((None, config), (found, config), (found, shorter)):
            frame = course(run, seed, start)
            final = float(frame["fvu"].iloc[-1]) if final is None else final
            names = {"seed": seed, "start": "cold" if start is None else "acs", "steps": run.training.steps}
            courses.append(pd.DataFrame([names]).merge(frame, how="cross"))
            told = (*names.values(), frame["fvu"].iloc[-1], reached(frame, final))
            logging.info("seed %d  %s  %d steps  held-out fvu %.4f, the cold one's at step %s", *told)
            write_csv(arguments.csv, pd.concat(courses, ignore_index=True))


if __name__ == "__main__":
    main()
