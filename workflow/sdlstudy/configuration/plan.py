"""Estimate the jobs, disk and time of each stage before the pipeline starts."""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import pandas as pd

from peers.settings import PeerConfig
from sdlcore.config import Config
from sdlstudy.configuration.whole import Configuration
from sdlstudy.settings.cells import Cell, run_settings
from sdlstudy.settings.runs import KINDS
from sdlstudy.settings.sources import Source

RATE = 8e10
"""Weights x samples a second of a training on one core (TopK, 768 x 16000, k = 64, float32)."""


class Shape(NamedTuple):
    """The number and the dimensions of a source's samples."""

    rows: tuple[int | None, int | None]
    """Samples for training and for evaluation; None if unknown until they are read."""
    widths: tuple[int | None, int]
    """Dimension of site 0, None if not known yet, and of all further sites together, 0 if there are none or it is
    unknown."""


Job = tuple[str, bool, float | None, float | None]
"""Stage, whether files are missing, gigabytes, and hours; None if they are unknown before."""


def plan(config: Configuration, missing: Callable[[str], bool], shapes: Mapping[str, Shape]) -> pd.DataFrame:
    """Return the jobs, the jobs with ``missing`` files, the gigabytes and the hours of each stage.

    Hours are for jobs one after the other. NaN if a size or a speed is unknown before: of solvers, other libraries and
    models without ``samples_per_second``. ``shapes`` are the shapes of sources that files and models tell.
    """
    columns = ["stage", "left", "GB", "hours"]
    jobs = pd.DataFrame([*_extractions(config, missing, shapes), *_runs(config, missing, shapes)], columns=columns)
    groups = jobs.astype({"GB": float, "hours": float}).groupby("stage", sort=False)
    counted = groups[["GB", "hours"]].count().eq(groups.size(), axis=0)
    sums = groups[["GB", "hours"]].sum().where(counted)
    return pd.DataFrame({"jobs": groups.size(), "left": groups["left"].sum()}).join(sums).reset_index()


def _extractions(config: Configuration, missing: Callable[[str], bool], shapes: Mapping[str, Shape]) -> Iterator[Job]:
    """Yield one job for each source, or for each seed of a bench."""
    files = config.files()
    stores = {files.store(cell.source, cell.seed, "test"): cell.source for cell in config.all_cells()}
    for store, source in stores.items():
        settings = config.source(source)
        rows, (n_p, n_r) = shapes.get(source) or Shape(settings.rows, settings.widths)
        stored = rows[1:] if settings.is_streamed else rows
        numbers = None if None in stored else sum(number or 0 for number in stored)
        size = None if n_p is None or numbers is None else numbers * (n_p + n_r) * _bytes_of_number(settings) / 1e9
        rate, timed = settings.declared("samples_per_second"), settings.kind in ("clip", "language")
        hours = (numbers / rate / 3600 if numbers and rate else None) if timed else 0.0
        yield f"activations of {settings.kind}", missing(store), size, hours


def _bytes_of_number(source: Source) -> int:
    return 2 if source.kind == "language" or source.declared("store_dtype") == "float16" else 4


def _runs(config: Configuration, missing: Callable[[str], bool], shapes: Mapping[str, Shape]) -> Iterator[Job]:
    """Yield one job for each run, and one for each evaluation."""
    files = config.files()
    for cell in config.all_cells():
        kind, is_missing = config.methods[cell.method].settings, any(map(missing, files.all_of(cell)[:-1]))
        size = _weights(config, cell, shapes)
        run, hours = run_settings(config, cell), None
        if size is not None and isinstance(run, Config):
            hours = size * run.steps * run.batch_size / RATE / 3600
        on = f" on {config.source(cell.source).kind}" if kind is Config else ""
        yield f"{KINDS[kind]}{on}", is_missing, None if size is None else 4 * size / 1e9, hours
    yield from (("evaluations", missing(files.metrics(cell)), 0.0, 0.0) for cell in config.cells())


def _weights(config: Configuration, cell: Cell, shapes: Mapping[str, Shape]) -> int | None:
    """Return the number of weights in a dictionary; None if its dimensions or its number of atoms are unknown."""
    run = run_settings(config, cell)
    n_p, n_r = shapes[cell.source].widths if cell.source in shapes else config.source(cell.source).widths
    if n_p is None or not isinstance(run, Config | PeerConfig):
        return None
    pair, n_q = run.pair, run.n_q
    target = n_r or n_p
    return n_q * {"sae": 2 * n_p, "transcoder": n_p + target, "crosscoder": 2 * (n_p + target)}[pair]
