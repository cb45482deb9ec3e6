"""Compare processor seconds to recovery: alternating convex search, and TopK trainings with as many or more latents.

    python -m benchmarks.search_and_training                # everything: some ten minutes of one core
    python -m benchmarks.search_and_training --seeds 0      # a part: rows of other seeds stay

All run on one thread, on the same stores, in float32. Seconds are processor time of the whole process
(`time.process_time`), so work beside it hardly counts. They include reading the store, and exclude drawing the bench,
compilation, and counting recovered features. The search stops by itself. Trainings have schedules of four passes over
the samples, and are cut off when 99.9 % of the features are recovered.

Rows are written seed by seed to ``benchmarks/results/search_and_training.csv``. At the end docs/solvers.md shows the
rows as a table and as curves.
"""

import argparse
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks import machine, warm_start
from benchmarks.convex_search import Case, draw
from benchmarks.shown import show
from sdlcore.api.sources import stored
from sdlcore.data.batches import BatchReader
from sdlcore.data.reading import open_checked
from sdlcore.data.recovery_rule import TAU, recovered
from sdlcore.model.coder import SparseCoder
from sdlcore.random_streams import stream, torch_stream
from sdlcore.run import RunConfig
from sdlcore.solvers.settings import SolverConfig
from sdlcore.solvers.solve import compile_loops, find
from sdlcore.training import normalisation
from sdlcore.training.loop import train
from sdlstudy.rendering.figures import PALETTE, save_png, style
from sdlstudy.results.tables import read_csv, write_csv

log = logging.getLogger("benchmarks")

HERE = Path(__file__).parent
CSV = HERE / "results/search_and_training.csv"
PAGE = HERE.parent / "docs/solvers.md"
PICTURE = HERE.parent / "docs/images/search_and_training.png"
BEGINS = "<!-- made by python -m benchmarks.search_and_training -->"

SEEDS = (0, 1, 2)
SEARCH, NARROW, WIDE = "search", "topk_2000", "topk_16000"
TITLES = {SEARCH: "search, from 2,000 atoms", NARROW: "TopK, 2,000 latents", WIDE: "TopK, 16,000 latents"}
SEARCH_SETTINGS: dict[str, Any] = {"n_atoms": 2000, "batch_size": 8192, "early_forgetting": 0}
"""The settings of `benchmarks.convex_search`, without bfloat16, which not every processor has."""
SHARES = (0.9, 0.99, 0.999)
"""Shares of recovered features for which the table shows times."""

ENOUGH = 0.999
"""Share of recovered features at which a training is stopped, because few features are left to find."""

Row = dict[str, float]


class EnoughFound(Exception):
    """Raised to end a training early."""


class Clock:
    """Processor seconds of this process, without pauses."""

    def __init__(self) -> None:
        self._began = time.process_time()

    @property
    def seconds(self) -> float:
        return time.process_time() - self._began

    @contextmanager
    def paused(self) -> Iterator[None]:
        at = time.process_time()
        yield
        self._began += time.process_time() - at


def training_settings(way: str) -> RunConfig:
    """Return Table 1's TopK under ``best`` in float32, or a variant with 2,000 latents and settings tuned for it."""
    config = warm_start.settings()
    model, training = config.model, config.training.changed(precision="float32", log_every=20)
    if way == NARROW:
        model = model.changed(n_q=2000, k=16)
        # half the batch in twice the steps: as many samples
        training = training.changed(lr=5e-3, batch_size=512, steps=2 * config.training.steps, log_every=10)
    return config.changed(model=model, training=training)


def found_by(features: Path) -> Callable[[Tensor], float]:
    """Return a function that computes the share of features with a row at a cosine above .9."""
    true = torch.from_numpy(np.load(features))
    return lambda rows: float(recovered((true @ normalize(rows).T).abs().amax(1), TAU).float().mean())


def search_course(store: Path, features: Path, seed: int, config: SolverConfig) -> list[Row]:
    """Search the store; return seconds and recovery after each step."""
    compile_loops(config)
    share, rows = found_by(features), []
    with open_checked(store) as opened:
        reader = BatchReader(opened, "sae", config.batch_size, partial(stream, seed, "order"))
        clock = Clock()

        def keep(atoms: Tensor, row: Row) -> None:
            seconds = clock.seconds
            with clock.paused():
                numbers = {"step": row["step"], "samples": row["samples"], "latents": len(atoms)}
                rows.append(numbers | {"processor_seconds": seconds, "recovery": share(atoms)})

        find(lambda step: torch.from_numpy(reader(step)[0]), config, torch_stream(seed, "initialisation"), keep=keep)
    return rows


def training_course(store: Path, features: Path, seed: int, config: RunConfig, enough: float = ENOUGH) -> list[Row]:
    """Train until a recovery of ``enough``; return seconds and recovery every ``log_every`` steps."""
    share, settings, found = found_by(features), config.training, list[Row]()
    with stored(store) as source:
        rows = source.training_rows(config, seed)
        model = SparseCoder(config.model, rows.widths[:1], rows.widths[:1], torch_stream(seed, "initialisation"))
        scaling = normalisation.no_scaling(rows.widths[0], rows.widths[0])
        clock = Clock()

        def look(weights: Mapping[str, Tensor]) -> Row:
            seconds, step = clock.seconds, min(settings.log_every * (len(found) + 1), settings.steps)
            with clock.paused():
                numbers = {"step": step, "samples": step * settings.batch_size, "latents": config.model.n_q}
                found.append(numbers | {"processor_seconds": seconds, "recovery": share(weights["decoder"])})
            if found[-1]["recovery"] >= enough:
                raise EnoughFound
            return {}

        with suppress(EnoughFound):
            train(model, rows.batches, config, torch_stream(seed, "resampling"), scaling, watch=look)
    return found


def measure(seed: int, ways: Sequence[str]) -> pd.DataFrame:
    """Return the courses of the selected ways on a bench at the paper's scale."""
    with tempfile.TemporaryDirectory(prefix="sdlcore-benchmark-") as folder:
        store, features = Path(folder, "train.h5"), Path(folder, "features.npy")
        draw(Case(1000, 768, 100_000, SEARCH_SETTINGS["n_atoms"], SEARCH_SETTINGS["batch_size"], seed), store, features)
        frames = []
        for way in ways:
            facts: dict[str, Any] = {"way": way, "seed": seed, "load": machine.load()}
            facts["threads"] = torch.get_num_threads()
            if way == SEARCH:
                settings = SolverConfig(**SEARCH_SETTINGS)
                # the first use compiles or loads kernels, so it happens before the clock starts
                search_course(store, features, seed, settings.changed(max_steps=1))
                rows = search_course(store, features, seed, settings)
            else:
                config = training_settings(way)
                short = config.changed(training=config.training.changed(steps=2, log_every=2))
                training_course(store, features, seed, short)
                rows = training_course(store, features, seed, config)
            log.info("%s: seed %d, %.1f s, recovery %.3f", way, seed, *_end(rows))
            facts |= {"cpu": machine.describe()["cpu"], "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M")}
            frames.append(pd.DataFrame(rows).assign(**facts))
    return pd.concat(frames, ignore_index=True)


def _end(rows: Sequence[Row]) -> tuple[float, float]:
    return rows[-1]["processor_seconds"], rows[-1]["recovery"]


def reached(course: pd.DataFrame, share: float) -> float:
    """Return the seconds at which a share of the features was first recovered; NaN if it never was."""
    there = course.loc[course["recovery"] >= share, "processor_seconds"]
    return float("nan") if there.empty else float(there.iloc[0])


def table(rows: pd.DataFrame) -> str:
    """Return a table of the seconds to each share of the features, as ranges over seeds."""
    lines = [f"| | {' | '.join(f'to {100 * share:g} %' for share in SHARES)} | until it stops |", "|---" * 5 + "|"]
    for way, title in TITLES.items():
        courses = [course for _, course in rows[rows["way"] == way].groupby("seed")]
        cells = [_range([reached(course, share) for course in courses]) for share in SHARES]
        ends = _range([course["processor_seconds"].iloc[-1] for course in courses]) if way == SEARCH else "cut off"
        lines.append(f"| {title} | {' | '.join(cells)} | {ends} |")
    seeds, load = sorted(set(rows["seed"])), rows["load"]
    caption = (
        f"Processor seconds on one thread of {' and '.join(rows['cpu'].unique())}, least to most of seeds "
        f"{', '.join(map(str, seeds))}. Load average before each run: {load.min():.1f} to {load.max():.1f}."
    )
    return "\n".join([caption, "", *lines])


def _range(values: Sequence[float]) -> str:
    if any(np.isnan(values)):
        return "not reached"
    low, high = f"{min(values):.1f}", f"{max(values):.1f}"
    return f"{low} s" if low == high else f"{low} to {high} s"


def picture(rows: pd.DataFrame) -> Figure:
    """Draw recovery over processor seconds: a curve for each way and seed."""
    with style():
        figure = Figure(figsize=(7.2, 3.2), layout="constrained")
        axes: Any = figure.subplots()
        for colour, (way, title) in zip(PALETTE, TITLES.items(), strict=False):
            for number, (_, course) in enumerate(rows[rows["way"] == way].groupby("seed")):
                label = None if number else title
                points = course[["processor_seconds", "recovery"]].to_numpy().T
                axes.plot(*points, ".-", color=colour, markersize=3, label=label)
        axes.axhline(0.99, color="0.6", linestyle=":", linewidth=0.8)
        axes.set_xscale("log")
        axes.set_xlabel("processor seconds, one thread")
        axes.set_ylabel("features recovered")
        axes.set_ylim(-0.02, 1.02)
        axes.legend()
    return figure


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="*", default=list(SEEDS), help="none: show what is kept")
    parser.add_argument("--ways", nargs="+", choices=TITLES, default=list(TITLES), help="what to measure")
    parser.add_argument("--csv", type=Path, default=CSV, help="another file, which no page shows")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    torch.set_num_threads(1)
    rows = read_csv(options.csv) if options.csv.exists() else pd.DataFrame(columns=["way", "seed"])
    for seed in options.seeds:
        older = rows[(rows["seed"] != seed) | ~rows["way"].isin(options.ways)]
        rows = pd.concat([older, measure(seed, options.ways)]).sort_values(["way", "seed", "step"], ignore_index=True)
        write_csv(options.csv, rows)
    if options.csv == CSV:
        save_png(picture(rows), PICTURE)
        show(PAGE, BEGINS, table(rows))


if __name__ == "__main__":
    main(sys.argv[1:])
