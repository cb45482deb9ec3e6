"""Compare solvers' dictionaries with one coder, and their processor seconds: `python -m benchmarks.classical`.

It adds to the metrics of finished solver runs: the error of held-out samples at equal L0, with all dictionaries coded
by the same matching pursuit (`sdlcore.solvers.dbksvd`), and the search's processor seconds. For these, the search runs
again on one thread, with the methods of each seed one after the other. The runs come from the pipeline
(docs/results/dbksvd/README.md):

    python -m benchmarks.classical results/quick/runs/lrb/{acs,dbksvd,ksvd}/best/none/seed* --csv FILE

Rows are written one by one. FILE.md, beside the CSV file, contains means over seeds.
"""

import argparse
import json
import logging
import time
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from sdlcore.data.batches import BatchReader
from sdlcore.data.reading import open_checked
from sdlcore.model.saving import load_model
from sdlcore.random_streams import stream, torch_stream
from sdlcore.solvers.dbksvd import matching_pursuit
from sdlcore.solvers.registry import solver_of
from sdlcore.solvers.settings import SolverConfig
from sdlcore.solvers.solve import compile_loops
from sdlcore.training import normalisation
from sdlstudy.rendering.text_table import TextTable
from sdlstudy.results.tables import write_csv

MEASURED = {
    "gt_recovery_decoder": "recovery at .9",
    "gt_recovery_decoder_tau95": "at .95",
    "mip_decoder": "MIP",
    "atoms": "atoms",
    "steps": "steps",
    "processor_seconds": "processor seconds",
    "fvu": "FVU, as saved",
    "l0": "L0, as saved",
}
"""Columns of the CSV file and their headings in the page; columns of pursuits follow."""


def store_of(run: Path, part: str) -> Path:
    """Return the path of a run's samples, ``train`` or ``test``."""
    source, seed = run.parents[3].name, run.name
    activations = run.parents[5] / "activations" / source
    of_a_seed = activations / seed / f"{part}.h5"
    return of_a_seed if of_a_seed.exists() else activations / f"{part}.h5"


def search_seconds(run: Path, config: SolverConfig) -> float:
    """Repeat the run's search; return its processor seconds, without reading."""
    compile_loops(config)
    seed = int(run.name.removeprefix("seed"))
    with open_checked(store_of(run, "train")) as store:
        order = partial(stream, seed, "order")
        reader = BatchReader(store, config.pair, min(config.batch_size, store.rows), order)
        scaling = normalisation.fit_normalisation(store, config.pair) if config.normalise else None
        reading = 0.0

        def batch(step: int) -> Tensor:
            nonlocal reading
            began = time.process_time()
            x = torch.from_numpy(reader(step)[0])
            x = scaling(x, x)[1] if scaling else x
            reading += time.process_time() - began
            return x

        began = time.process_time()
        for _ in solver_of(config.solver)(batch, config, torch_stream(seed, "initialisation"), None):
            pass
        return round(time.process_time() - began - reading, 3)


def equal_l0(run: Path, supports: list[int]) -> dict[str, float]:
    """Return the error of held-out samples for pursuits of each support size, non-negative and signed."""
    model = load_model(run / "model.safetensors")
    with open_checked(store_of(run, "test")) as store:
        x = torch.from_numpy(store.read("input")) - model.b_dec.detach()
    atoms = torch.nn.functional.normalize(model.W_dec.detach()).contiguous()
    variance = float(x.var(dim=0, correction=0).sum())
    found = {}
    for signed in (False, True):
        for s in supports:
            codes = matching_pursuit(x, atoms, s, signed)
            name = f"{'signed_' if signed else ''}{s}"
            found[f"fvu_pursuit_{name}"] = float(codes.errors.mean()) / variance
            found[f"l0_pursuit_{name}"] = len(codes.values) / len(x)
    return found


def measure(run: Path, supports: list[int], seconds: bool) -> dict[str, Any]:
    """Return the row of a run; ``seconds`` repeats the search to time it."""
    metrics = json.loads((run / "metrics.json").read_text())["metrics"]
    config = SolverConfig.from_dict(json.loads((run / "config.json").read_text())["settings"])
    # the last row describes the finished dictionary
    steps = len(pd.read_csv(run / "history.csv")) - 1
    atoms = len(load_model(run / "model.safetensors").W_dec)
    row = {"source": run.parents[3].name, "method": run.parents[2].name, "seed": int(run.name.removeprefix("seed"))}
    row |= {"atoms": atoms, "steps": steps, "processor_seconds": search_seconds(run, config) if seconds else None}
    row |= {name: metrics.get(name) for name in MEASURED if name not in row}
    return row | equal_l0(run, supports)


def page(frame: pd.DataFrame, supports: list[int]) -> str:
    """Return means over seeds as a Markdown table."""
    heads = MEASURED | {f"fvu_pursuit_{s}": f"FVU of a pursuit, {s} atoms" for s in supports}
    heads |= {f"fvu_pursuit_signed_{s}": f"signed, {s}" for s in supports}
    rows = []
    for (source, method), runs in frame.groupby(["source", "method"], sort=False):
        means = runs[list(heads)].astype(float).mean()
        rows.append([source, method, str(len(runs)), *("–" if pd.isna(v) else f"{v:.3g}" for v in means)])
    caption = (
        "Dictionaries of solvers: means over seeds. Pursuits code held-out samples with so many atoms, and every "
        "dictionary by the same coder; *as saved* is by the run's own encoder."
    )
    return TextTable(caption, pd.DataFrame(rows, columns=["source", "method", "seeds", *heads.values()]), 2).markdown()


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--supports", type=int, nargs="+", default=[4, 16])
    parser.add_argument("--without-seconds", action="store_true", help="search for none again")
    parser.add_argument("--csv", type=Path, required=True)
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    rows = []
    # in order of seeds, so that other load on the machine affects all methods alike
    for run in sorted(arguments.runs, key=lambda run: (run.parents[3].name, run.name)):
        rows.append(measure(run, arguments.supports, not arguments.without_seconds))
        logging.info("%s", rows[-1])
        frame = pd.DataFrame(rows)
        write_csv(arguments.csv, frame)
        arguments.csv.with_suffix(".md").write_text(page(frame, arguments.supports))


if __name__ == "__main__":
    main()
