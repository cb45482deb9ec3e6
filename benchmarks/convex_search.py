"""Measure time, memory and recovery of alternating convex search over the number of features.

    python -m benchmarks.convex_search                       # everything; on two otherwise idle cores
    python -m benchmarks.convex_search --features 1000       # a part: rows of other parts stay
    git worktree add ../before 2189b80                       # compare with another commit, in turns
    python -m benchmarks.convex_search --features 1000 --before ../before/src

Each case draws a bench into a store on disk and searches it in a process of its own. Seconds include reading the store,
and exclude drawing, compilation and the encoder. Memory is the largest resident memory from the first read on. Rows are
written one by one to ``benchmarks/results/convex_search.csv``, where they replace older rows of the same case. At the
end, they are drawn for docs/solvers.md. If a case fails, the others are still measured; the
command then names the failed cases and ends with a nonzero exit status.
"""

import argparse
import json
import logging
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from subprocess import PIPE
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from benchmarks import machine
from sdlcore.data.writing import create_store
from sdlcore.random_streams import stream
from sdlcore.sources.bench.feature_matrix import feature_matrix
from sdlcore.sources.bench.samples import draw_samples
from sdlcore.sources.bench.settings import BenchSource
from sdlstudy.rendering.figures import PALETTE, save_png, style
from sdlstudy.results.tables import write_csv

log = logging.getLogger("benchmarks")

HERE = Path(__file__).parent
CSV = HERE / "results/convex_search.csv"
PICTURE = HERE.parent / "docs/results/paper/convex_search.png"

DEVELOPMENT_SEEDS = (1000, 1001, 1002)
"""Seeds used to make the search faster. They are not measured here."""
UNSEEN_SEEDS = tuple(range(500, 510))
"""Seeds at the paper's scale. No choice was based on them."""
SPARSITY, INTERFERENCE = 0.99, 0.1
BEFORE = ("seconds", "processor_seconds", "steps", "atoms", "recovery")
"""Columns measured for the other commit."""


class Case(NamedTuple):
    """A bench, and the settings of its search."""

    n: int
    n_p: int
    samples: int
    n_atoms: int
    """Initial number of atoms."""
    batch_size: int
    seed: int


# at least three samples of a batch per atom, and surplus atoms, because only then all features are found
CASES = (
    *(Case(1000, 768, 100_000, 2000, 8192, seed) for seed in UNSEEN_SEEDS),
    Case(2000, 1280, 100_000, 3000, 12_288, UNSEEN_SEEDS[0]),
    Case(4000, 2048, 100_000, 6000, 24_576, UNSEEN_SEEDS[0]),
    # the number of atoms was chosen on the first of the unseen seeds; the second seed did not affect it
    Case(10_000, 4096, 200_000, 20_000, 65_536, UNSEEN_SEEDS[1]),
)


def draw(case: Case, store: Path, features: Path) -> None:
    """Write the samples of a case, and its features (n x n_p)."""
    bench = BenchSource(
        n=case.n, n_p=case.n_p, train_samples=case.samples, sparsity=SPARSITY, max_interference=INTERFERENCE
    )
    W = feature_matrix(case.n_p, case.n, stream(case.seed, "features"), bench).W
    with create_store(store, {}) as writer:
        for samples in draw_samples(bench, W, None, case.seed, "train", case.samples):
            writer.append(samples.input)
    np.save(features, np.ascontiguousarray(W.T))


def measure(case: Case, threads: int, before: Path | None) -> dict[str, Any]:
    """Return the row of a case.

    Raises
    ------
    subprocess.CalledProcessError
        If a search fails.
    """
    with tempfile.TemporaryDirectory(prefix="sdlcore-benchmark-") as folder:
        store, features = Path(folder, "train.h5"), Path(folder, "features.npy")
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            pool.submit(draw, case, store, features).result()
        load = machine.load()
        # one process each, so that memory is its own, and a killed process does not take others along
        worker = [sys.executable, "-m", "benchmarks.searched", str(store), str(features), str(threads), str(case.seed)]
        settings = {"n_atoms": case.n_atoms, "batch_size": case.batch_size, "precision": "bfloat16"}
        # the earlier code has the same forgetting in all steps
        turns = [(settings | {"early_forgetting": 0}, dict(os.environ))]
        turns += [(settings, os.environ | {"PYTHONPATH": str(before)})] if before else []
        found, *older = (
            json.loads(subprocess.run([*worker, json.dumps(given)], env=env, check=True, stdout=PIPE, text=True).stdout)
            for given, env in turns
        )
    row = {**case._asdict(), "sparsity": SPARSITY, **found}
    row |= {f"{name}_before": older[0][name] for name in BEFORE if older}
    described = {"threads": threads, "load": load, "cpu": machine.describe()["cpu"]}
    return row | described | {"date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M")}


def measured(csv: Path) -> pd.DataFrame:
    """Return the rows measured so far."""
    return pd.read_csv(csv) if csv.exists() else pd.DataFrame()


def replaced(rows: pd.DataFrame, row: dict[str, Any]) -> pd.DataFrame:
    """Return rows with a new row, which replaces an older row of the same case."""
    if not rows.empty:
        rows = rows[~(rows[list(Case._fields)] == [row[name] for name in Case._fields]).all(axis=1)]
    return pd.concat([rows, pd.DataFrame([row])]).sort_values(["n", "seed"], ignore_index=True)


def picture(rows: pd.DataFrame) -> Figure:
    """Draw processor seconds and recovery over the number of features: each case, and lines through medians."""
    with style():
        figure = Figure(figsize=(7.2, 2.9), layout="constrained")
        panels: Any = figure.subplots(1, 2)
        panels[0].plot(rows["n"], rows["processor_seconds"], "o", color=PALETTE[0], markersize=4)
        panels[0].plot(rows.groupby("n")["processor_seconds"].median(), color=PALETTE[0])
        panels[0].set_yscale("log")
        panels[0].set_ylabel("processor seconds of the search")
        panels[1].plot(rows["n"], rows["recovery"], "o", color=PALETTE[2], markersize=4)
        panels[1].plot(rows.groupby("n")["recovery"].median(), color=PALETTE[2])
        panels[1].set_ylim(min(0.98, rows["recovery"].min() - 0.005), 1.001)
        panels[1].set_ylabel("decoder recovery at .9")
        for axes in panels:
            axes.set_xscale("log")
            axes.set_xticks(sorted(set(rows["n"])), [f"{n:,}" for n in sorted(set(rows["n"]))])
            axes.minorticks_off()
            axes.set_xlabel("features, n")
    return figure


def main(arguments: Sequence[str]) -> None:
    """Measure the selected cases.

    Raises
    ------
    SystemExit
        If a case failed, after all other cases were measured.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = sorted({case.n for case in CASES})
    parser.add_argument("--features", type=int, nargs="+", choices=sizes, default=sizes, help="sizes to measure")
    parser.add_argument("--csv", type=Path, default=CSV, help="another file, which is not drawn")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of a search (default: all)")
    parser.add_argument("--before", type=Path, help="src of another state of the code, searched in turns with this one")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    failed = []
    for case in (case for case in CASES if case.n in options.features):
        try:
            row = measure(case, options.threads, options.before)
        except Exception as error:
            log.exception("%s failed", case)
            failed.append(f"{case}: {error}")
            continue
        log.info("%s", row)
        write_csv(options.csv, replaced(measured(options.csv), row))
    if failed:
        sys.exit("these cases failed, and all others are in {}:\n  {}".format(options.csv, "\n  ".join(failed)))
    if options.csv == CSV:
        save_png(picture(measured(CSV)), PICTURE)


if __name__ == "__main__":
    main(sys.argv[1:])
