"""Estimate the disk, memory and time that the activations of each source need."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from shutil import disk_usage
from types import MappingProxyType
from typing import NamedTuple

from sdlstudy.configuration.whole import Configuration

WORTH_TELLING = 10**9
"""Smallest size in bytes that a plan reports before work begins."""


class Shape(NamedTuple):
    """The number and the dimensions of a source's samples."""

    rows: tuple[int | None, int | None]
    """Samples for training and for evaluation; None if unknown until they are read."""
    widths: tuple[int | None, int]
    """Dimension of site 0, None if not known yet, and of all further sites together, 0 if there are none or it is
    unknown."""


Shapes = Mapping[str, Shape]
"""Shapes read from existing files and models, by source. Other sources take their shape from the configuration."""
NOTHING_FOUND: Shapes = MappingProxyType({})


def shape(config: Configuration, source: str, shapes: Shapes) -> Shape:
    """Return the shape of a source: the one in ``shapes``, otherwise the configured one."""
    settings = config.source(source)
    return shapes.get(source) or Shape(settings.rows, settings.widths)


class Need(NamedTuple):
    """The resources that the activations of one source need."""

    source: str
    rows: int | None
    """Samples in both stores, summed over the seeds if each seed draws its own; None if the number is unknown."""
    row_bytes: int | None
    """Bytes per sample; None if the dimensions are unknown until the model exists."""
    rate: float | None = None
    """Samples extracted in a second; None if no throughput is configured."""
    streamed: int | None = None
    """Samples that each training streams without storing them; None if all samples are stored."""
    parts: int = 1
    """Number of extraction jobs that may run at the same time."""
    memory: int | None = None
    """Megabytes that an extraction job reserves; None if no model runs."""

    @property
    def bytes(self) -> int | None:
        return None if self.rows is None or self.row_bytes is None else self.rows * self.row_bytes

    @property
    def seconds(self) -> float | None:
        """Seconds that the model runs: for the stores, or for one training on a stream."""
        rows = self.rows if self.streamed is None else self.streamed
        return rows / self.rate if rows and self.rate else None


def need(config: Configuration, source: str, shapes: Shapes = NOTHING_FOUND) -> Need:
    """Return the resources that the activations of a source need."""
    settings = config.source(source)
    (train, test), (n_p, n_r) = shape(config, source, shapes)
    drawings = len(config.bench_seeds(source)) if settings.n_features is not None else 1
    parts, streamed = [train, test], None
    if settings.is_streamed:
        run = settings.run
        streamed = (run.steps or 0) * (run.batch_size or 0) or train
        parts = [test]
    known_rows = [rows for rows in parts if rows is not None]
    rows = sum(known_rows) * drawings if len(known_rows) == len(parts) else None
    row_bytes = None if n_p is None else (n_p + n_r) * settings.bytes_of_number
    return Need(source, rows, row_bytes, settings.rate, streamed, settings.n_shards)


def describe(resources: Need, free: int) -> str:
    """Describe the need of one source in one line, beside the ``free`` bytes."""
    if resources.row_bytes is None:
        size = "size unknown until the model exists (set n_p)"
    elif resources.bytes is None:
        size = f"{resources.row_bytes / 1e3:.3g} kB a sample, number of samples unknown"
    else:
        size = _gigabytes(resources.bytes)
        if resources.bytes > free:
            size += ", which does not fit"
    facts = [size, f"{free / 1e9:.3g} GB are free"]
    if resources.memory is not None:
        facts.append(f"{resources.memory / 1e3:.3g} GB of memory a job")
    if resources.streamed is not None:
        stored = (
            ""
            if resources.row_bytes is None
            else f", {_gigabytes(resources.streamed * resources.row_bytes)} if it stored them"
        )
        facts[0] += " for evaluation"
        facts.append(f"each training streams {resources.streamed:,} samples{stored}")
    if resources.seconds is None and resources.memory is not None:  # otherwise no model runs, and the job takes seconds
        facts.append("time unknown (set samples_per_second)")
    if resources.seconds is not None:
        parts = f", over {resources.parts} jobs" if resources.parts > 1 else ""
        facts.append(f"about {duration(resources.seconds)} at {resources.rate:,g} samples a second{parts}")
    return f"activations of {resources.source}: {'; '.join(facts)}"


def lines(
    config: Configuration,
    sources: Iterable[str],
    folder: Path,
    memory: Callable[[str], int | None] = lambda source: None,
    shapes: Shapes = NOTHING_FOUND,
) -> list[str]:
    """Return the lines to print before work begins: one for each source that is large, or may be.

    If the small sources are large together, one more line gives their sum.

    Parameters
    ----------
    config
        The configuration.
    sources
        Names of sources.
    folder
        The folder of the stores. Free space is measured at its nearest existing parent.
    memory
        Return the megabytes that an extraction job of a source reserves.
    shapes
        Shapes of sources, as read from files and models that exist.
    """
    while not folder.exists():
        folder = folder.parent
    free = disk_usage(folder).free
    needs = [need(config, source, shapes) for source in sources]
    large_needs = [n for n in needs if _is_open(n) or _size(n) >= WORTH_TELLING]
    small_needs = [n for n in needs if n not in large_needs and n.bytes is not None]
    small_bytes = sum(n.bytes or 0 for n in small_needs)
    # the points of a sweep are small one by one, and large together
    summary = [
        f"activations of {len(small_needs)} smaller sources: {_gigabytes(small_bytes)}; {free / 1e9:.3g} GB are free"
    ]
    return [describe(n._replace(memory=memory(n.source)), free) for n in large_needs] + summary * (
        small_bytes >= WORTH_TELLING
    )


def _size(resources: Need) -> int:
    return max(resources.bytes or 0, (resources.streamed or 0) * (resources.row_bytes or 0))


def _is_open(resources: Need) -> bool:
    """Return whether a source's dimensions are known but not its number of samples."""
    return resources.rows is None and resources.row_bytes is not None


def _gigabytes(number: int) -> str:
    return f"{number / 1e9:,.4g} GB" if number < 10**12 else f"{number / 1e9:,.0f} GB"


def duration(seconds: float) -> str:
    """Return a time in words."""
    if seconds < 90:
        return "a minute"
    if seconds < 5400:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours" if seconds < 3 * 86400 else f"{seconds / 86400:.0f} days"
