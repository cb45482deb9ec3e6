"""Estimate the jobs, disk, memory and time of all stages before the pipeline starts."""

import json
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from safetensors import safe_open

from peers.settings import PeerConfig
from runs.codes import CodesConfig
from sdlcore.interop.settings import ImportConfig
from sdlcore.run import RunConfig
from sdlcore.solvers.settings import SolverConfig
from sdlcore.training.history import read_history
from sdlstudy.configuration.plan import NOTHING_FOUND, Need, Shapes, duration, need, shape
from sdlstudy.configuration.whole import Configuration
from sdlstudy.products.language_scores import LanguageScores
from sdlstudy.settings.cells import Cell, run_settings, trained_settings
from sdlstudy.settings.files import Files
from sdlstudy.settings.runs import MADE_BY

RATE = 8e10
"""Weights x samples a second of a training on one core (TopK, 768 x 16000, k = 64, float32). The plan uses this speed
for trainings without a comparable one that finished on this machine."""
COMPARABLE = 10
"""Largest factor between the steps, in weights x samples, of two trainings whose speeds are comparable. Smaller steps
have a lower speed, because each step has a fixed cost."""
METRICS_BYTES = 10_000
SCORES = "language scores"
"""The stage that passes text through a model with each dictionary spliced in."""
MEMORY = (
    "Memory a job is the memory that a job reserves on a cluster, more than it needs: 4 GB of a training's memory are "
    "for Python and its libraries. `--set-resources train:mem_mb=8000` reserves another amount. Memory a GPU is the "
    "memory that a training needs on a GPU."
)
MOST_RUNS = 20_000
"""Largest number of runs in a configuration. Snakemake needs minutes to plan so many."""


class Stage(NamedTuple):
    """The resources of one kind of job, summed over all jobs except where a field is for the largest job."""

    name: str
    jobs: int
    disk: int | None
    """Bytes on disk after all jobs; None if unknown."""
    memory: int | None = None
    """Megabytes that the largest job reserves."""
    gpu_memory: int | None = None
    """Megabytes that the largest job needs on each GPU."""
    seconds: float | None = None
    """Time of all jobs, one after the other."""
    unmeasured: int = 0
    """Number of trainings whose time is computed from `RATE`."""
    passes: tuple[str, ...] = ()
    """Sources whose model passes are not in ``seconds``, because their speed is unknown."""

    @property
    def is_training(self) -> bool:
        """Whether the jobs are runs: trainings (by sdlcore or other libraries) or solvers."""
        return self.name.startswith(("trainings", "solvers"))


def number_of_runs(config: Configuration) -> int:
    """Return an upper bound on the runs that tables and figures need, computed without a list of the runs."""
    return sum(product.at_most(config) for product in config.products_by_path().values())


def weights(config: Configuration, cell: Cell, shapes: Shapes = NOTHING_FOUND) -> int | None:
    """Return the number of weights in a run's dictionary, or None if its source's dimensions are not known yet."""
    n_p, n_r = shape(config, cell.source, shapes).widths
    if n_p is None:
        return None
    run = run_settings(config, cell)
    assert isinstance(run, RunConfig | PeerConfig), "the number of atoms is unknown before a solver has run"
    pair, n_q = (run.model.pair, run.model.n_q) if isinstance(run, RunConfig) else (run.pair, run.n_q)
    target = n_r or n_p
    return n_q * {"sae": 2 * n_p, "transcoder": n_p + target, "crosscoder": 2 * (n_p + target)}[pair]


def samples(config: Configuration, cell: Cell) -> int:
    """Return the number of samples that a run trains on. A repeated sample counts each time."""
    training = trained_settings(config, cell).training
    return training.steps * training.batch_size


class Measured(NamedTuple):
    """A training that finished on this machine."""

    step: int
    """Its dictionary's weights times the samples of a step."""
    rate: float
    """Its speed in weights x samples a second."""


def measured_trainings(results: Path) -> list[Measured]:
    """Return the trainings that finished on this machine.

    Solvers, other libraries and imported dictionaries are left out, since their speed differs. Other jobs may have
    slowed the trainings down.
    """
    trainings = []
    for history in results.glob("*/runs/*/*/*/*/*/history.csv"):
        model, config = history.with_name("model.safetensors"), history.with_name("config.json")
        settings = json.loads(config.read_text())["settings"] if config.is_file() else {}
        if not settings or settings.keys() & MADE_BY.keys():
            continue
        rows = read_history(history)
        if rows and model.is_file() and rows[-1]["seconds"] > 0:
            weights = _weights_of(model)
            rate = weights * rows[-1]["samples"] / rows[-1]["seconds"]
            trainings.append(Measured(weights * settings["batch_size"], rate))
    return trainings


def comparable_rate(step: float, measured: Iterable[Measured]) -> float | None:
    """Return the median speed of the trainings with steps of a comparable size, or None if there are none."""
    rates = [training.rate for training in measured if step / COMPARABLE <= training.step <= step * COMPARABLE]
    return statistics.median(rates) if rates else None


def runs_by_product(config: Configuration) -> dict[str, int]:
    """Return the number of runs of each table and figure. A run of several counts for the first of them."""
    counted: set[Cell] = set()
    numbers = {}
    for path, product in config.products_by_path().items():
        if not product.alone:
            cells = {*product.cells(config), *product.cells_without_metrics(config)} - counted
            counted |= cells
            numbers[path.rpartition(".")[-1]] = len(cells)
    return {name: number for name, number in numbers.items() if number}


def stages(
    config: Configuration,
    memory: Callable[[Cell], int],
    extraction_memory: Callable[[str], int | None],
    measured: Sequence[Measured] = (),
    missing: Callable[[str], bool] = lambda path: True,
    shapes: Shapes = NOTHING_FOUND,
) -> list[Stage]:
    """Return the resources of the stages of a valid configuration, restricted to jobs with missing files.

    Parameters
    ----------
    config
        The configuration.
    memory, extraction_memory
        Megabytes that the training of a run, and an extraction job of a source, reserve.
    measured
        The trainings that finished on this machine.
    missing
        Return whether a file is missing. The default plans all files, present or not.
    shapes
        Shapes of sources, as read from files and models that exist.
    """
    files = config.files()
    evaluated_cells = [cell for cell in config.cells() if missing(files.metrics(cell))]
    trained_cells = [cell for cell in config.all_cells() if any(missing(path) for path in files.all_of(cell)[:-1])]
    kinds = {cell.source: config.source(cell.source).kind for cell in (*trained_cells, *evaluated_cells)}
    solver_cells, peer_cells, imported_cells, codes_cells, trained_cells = (
        [cell for cell in trained_cells if config.methods[cell.method].settings is settings_class]
        for settings_class in (SolverConfig, PeerConfig, ImportConfig, CodesConfig, RunConfig)
    )
    extraction_stages = []
    run_stages = []
    for kind in dict.fromkeys(kinds.values()):
        stores = {source: _stores(config, files, source, missing) for source in kinds if kinds[source] == kind}
        stores = {source: parts for source, parts in stores.items() if parts}
        extraction_stages += [_extraction(config, kind, stores, extraction_memory, shapes)] if stores else []
        if cells := [cell for cell in trained_cells if kinds[cell.source] == kind]:
            run_stages.append(_training(config, kind, cells, memory, measured, shapes))
    # the number of atoms, and with it the size, is unknown before a solver has run
    run_stages += [Stage("solvers", len(solver_cells), None)] if solver_cells else []
    # the speed of other libraries is unknown
    run_stages += (
        [Stage("trainings of other libraries", len(peer_cells), _models(config, peer_cells, shapes))]
        if peer_cells
        else []
    )
    run_stages += [Stage("imported dictionaries", len(imported_cells), None)] if imported_cells else []
    run_stages += [Stage("codes by search", len(codes_cells), None)] if codes_cells else []
    scores = config.products_by_path().get("language_scores")
    scored = scores.entries() if isinstance(scores, LanguageScores) else ()
    if passes := [source for source in scored if missing(files.language_losses(source))]:
        run_stages.append(Stage(SCORES, len(passes), METRICS_BYTES * len(passes)))
    evaluations = Stage("evaluations", len(evaluated_cells), METRICS_BYTES * len(evaluated_cells))
    return [*extraction_stages, *run_stages, *([evaluations] if evaluated_cells else [])]


def _extraction(
    config: Configuration,
    kind: str,
    stores: Mapping[str, Fraction],
    memory: Callable[[str], int | None],
    shapes: Shapes,
) -> Stage:
    """Return the extraction stage of some sources, each with the share of its stores that is missing."""
    needs = {source: need(config, source, shapes) for source in stores}
    # rows of the stores alone: streamed rows are made during each training, so their time counts there
    seconds = [
        source_need.rows / source_need.rate * share
        for source_need, share in zip(needs.values(), stores.values(), strict=True)
        if source_need.rows and source_need.rate
    ]
    sizes = [
        None if needs[source].bytes is None else int((needs[source].bytes or 0) * stores[source]) for source in stores
    ]
    return Stage(
        f"activations of {kind}",
        sum(int(share * _jobs(config, source)) for source, share in stores.items()),
        _sum(sizes),
        max((megabytes for source in stores if (megabytes := memory(source)) is not None), default=None),
        seconds=float(sum(seconds)) if seconds else None,
        passes=_without_speed(config, needs.values()),
    )


def _training(
    config: Configuration,
    kind: str,
    cells: list[Cell],
    memory: Callable[[Cell], int],
    measured: Sequence[Measured],
    shapes: Shapes,
) -> Stage:
    sizes = {cell: weights(config, cell, shapes) for cell in cells}
    known_sizes = {cell: size for cell, size in sizes.items() if size is not None}
    # each process has its part of a batch's latents; with split latents, also only its part of the dictionary
    processes = config.processes
    parts = processes if config.split == "latents" else 1
    streams = [need(config, cell.source, shapes) for cell in cells if config.source(cell.source).is_streamed]
    work = {cell: size * samples(config, cell) for cell, size in known_sizes.items()}
    rates = {
        cell: comparable_rate(size * trained_settings(config, cell).training.batch_size, measured)
        for cell, size in known_sizes.items()
    }
    return Stage(
        f"trainings on {kind}",
        len(cells),
        _models(config, cells, shapes),
        max(map(memory, cells)),
        # weights, gradients and two moments, and a batch's latents before and after sigma
        max(
            (
                (16 * size // parts + 8 * _batch(config, cell) // processes) // 10**6
                for cell, size in known_sizes.items()
            ),
            default=None,
        ),
        None
        if len(known_sizes) < len(cells)
        else sum(stream.seconds or 0 for stream in streams) + sum(work[cell] / (rates[cell] or RATE) for cell in work),
        [*rates.values()].count(None),
        _without_speed(config, streams),
    )


def _without_speed(config: Configuration, needs: Iterable[Need]) -> tuple[str, ...]:
    """Return the sources whose model passes take an unknown time."""
    sources = dict.fromkeys(source_need.source for source_need in needs if source_need.rate is None)
    return tuple(source for source in sources if "samples_per_second" in type(config.source(source)).model_fields)


def _models(config: Configuration, cells: list[Cell], shapes: Shapes) -> int | None:
    """Return the total bytes of the models of some runs."""
    sizes = [weights(config, cell, shapes) for cell in cells]
    return _sum([None if size is None else 4 * size for size in sizes])


def plan_lines(
    all_stages: Iterable[Stage],
    remaining_stages: Iterable[Stage],
    free: int,
    products: Mapping[str, int],
) -> list[str]:
    """Return the plan as lines of text: the progress, a table of stages, and the basis of the estimates.

    Parameters
    ----------
    all_stages, remaining_stages
        The stages with all jobs, and the stages with the jobs whose files are missing.
    free
        Free bytes on the disk that stores the results.
    products
        The number of runs of each table and figure (`runs_by_product`).
    """
    rows = [("stage", "jobs", "left", "disk", "memory a job", "memory a GPU", "time", "time left")]
    all_stages, remaining = list(all_stages), {stage.name: stage for stage in remaining_stages}
    for stage in all_stages:
        remainder = remaining.get(stage.name)
        rows.append(
            (
                stage.name,
                f"{stage.jobs:,}",
                f"{remainder.jobs if remainder else 0:,}",
                "unknown" if stage.disk is None else _size(stage.disk),
                "" if stage.memory is None else _size(stage.memory * 10**6),
                "" if stage.gpu_memory is None else _size(stage.gpu_memory * 10**6),
                "" if stage.seconds is None else _time(stage.seconds),
                "" if remainder is None or remainder.seconds is None else _time(remainder.seconds),
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    by_product = ", ".join(f"{name} {number:,}" for name, number in products.items())
    known_bytes = sum(stage.disk or 0 for stage in remaining.values())
    unknown_size = " and an unknown amount more" * any(stage.disk is None for stage in remaining.values())
    return [
        _progress(all_stages, list(remaining.values())),
        "",
        *lines,
        *[f"Runs by table and figure: {by_product}. A run of several counts for the first."] * (len(products) > 1),
        *[MEMORY] * any(stage.memory is not None for stage in all_stages),
        "Times are for jobs one after the other. The time of a training is its dictionary's weights times its samples, "
        f"divided by {_speeds(all_stages)}.",
        *_not_counted(remaining.values()),
        f"The jobs left need {_size(known_bytes)} of disk{unknown_size}; {_size(free)} are free.",
        "A run counts as finished if its files exist; `snakemake -n` lists the runs that a changed setting repeats.",
    ]


def _progress(all_stages: list[Stage], remaining_stages: list[Stage]) -> str:
    """Return a sentence with the number of finished runs and the time of the other runs."""
    jobs, remaining_jobs = (
        sum(stage.jobs for stage in part if stage.is_training) for part in (all_stages, remaining_stages)
    )
    if not remaining_jobs:
        return f"All {jobs:,} runs are finished."
    progress = f"{jobs - remaining_jobs:,} of {jobs:,} runs are finished, {remaining_jobs:,} left"
    left = [stage for stage in remaining_stages if stage.is_training]
    known_seconds = sum(stage.seconds or 0 for stage in left)
    if not known_seconds:
        return f"{progress}: an unknown time."
    passes = ", without passes of the model" * any(stage.passes for stage in left)
    rest = ", and an unknown time for the rest" * any(stage.seconds is None for stage in left)
    return f"{progress}: about {duration(known_seconds)} one after the other{passes}{rest}."


def _speeds(all_stages: Iterable[Stage]) -> str:
    """Return the speed of trainings in words."""
    timed = [stage for stage in all_stages if stage.name.startswith("trainings on") and stage.seconds is not None]
    unmeasured, trainings = sum(stage.unmeasured for stage in timed), sum(stage.jobs for stage in timed)
    elsewhere = f"{RATE / 1e9:g} billion a second, measured on one core of another machine"
    if unmeasured == trainings:
        return elsewhere
    here = "the median speed of the trainings that finished here with steps of a similar size"
    return f"{here}; for {unmeasured:,} of {trainings:,} there is none, so by {elsewhere}" if unmeasured else here


def _not_counted(remaining_stages: Iterable[Stage]) -> list[str]:
    """Return a line that names the jobs without an estimate of time, or none."""
    stages = list(remaining_stages)
    sources = dict.fromkeys(source for stage in stages for source in stage.passes)
    names = [f"passes of the model for {', '.join(sources)} (set samples_per_second)"] if sources else []
    names += [stage.name for stage in stages if stage.seconds is None and not stage.name.startswith("activations")]
    return [f"These times do not count: {'; '.join(names)}."] if names else []


def too_large(all_stages: Iterable[Stage], free: int) -> str | None:
    """Return an error if the known part of a plan exceeds the free disk space, otherwise None."""
    known_bytes = sum(stage.disk or 0 for stage in all_stages)
    if known_bytes <= free:
        return None
    sizes = f"the plan needs {_size(known_bytes)}, but the disk of the results has only {_size(free)} free"
    return f"{sizes}; free some space, or plan fewer runs"


def _size(number: int) -> str:
    """Return bytes as text with a unit."""
    if number < 10**6:
        return "under 1 MB" if number else "0 MB"
    return f"{number / 1e6:,.0f} MB" if number < 10**9 else f"{number / 1e9:,.2f} GB"


def _time(seconds: float) -> str:
    return "under a minute" if seconds < 60 else duration(seconds)


def _jobs(config: Configuration, source: str) -> int:
    """Return the number of jobs that make a source's stores."""
    settings = config.source(source)
    return settings.n_shards if settings.n_features is None else len(config.bench_seeds(source))


def _stores(config: Configuration, files: Files, source: str, missing: Callable[[str], bool]) -> Fraction:
    """Return the share of a source's stores that is missing. A bench has stores for each of its seeds."""
    seeds = config.bench_seeds(source) if config.source(source).n_features is not None else [0]
    missing_seeds = [
        seed for seed in seeds if any(missing(files.store(source, seed, part)) for part in ("train", "test"))
    ]
    return Fraction(len(missing_seeds), len(seeds))


def _batch(config: Configuration, cell: Cell) -> int:
    run = trained_settings(config, cell)
    return run.model.n_q * run.training.batch_size // run.training.accumulate


def _sum(sizes: list[int | None]) -> int | None:
    return None if None in sizes else sum(size or 0 for size in sizes)


def _weights_of(model: Path) -> int:
    """Return the number of weights in a safetensors file, read from its header."""
    with safe_open(model, "np") as file:
        shapes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118, not a dict
    return sum(math.prod(shape) for shape in shapes if len(shape) == 2)
