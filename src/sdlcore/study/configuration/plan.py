"""What activations will take on disk, in memory and in time, told before anything runs."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from shutil import disk_usage
from typing import Any, NamedTuple

from sdlcore.study.configuration.run_keys import bench_seeds, source_kind

WORTH_TELLING = 10**9
"""Bytes from which rows are worth a line before the work begins."""
_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


class Need(NamedTuple):
    """What the activations of one source take."""

    source: str
    rows: int | None
    """Samples of both stores, over all seeds that draw their own; None for as many as there are."""
    row_bytes: int | None
    """Bytes of a sample; None where dimensions are known only once the model is there."""
    rate: float | None = None
    """Samples extracted in a second; None where no throughput is configured."""
    streamed: int | None = None
    """Samples that each training makes and none stores; None where they are stored."""
    parts: int = 1
    """Jobs that extract side by side where there is room for them."""
    memory: int | None = None
    """Megabytes that a job of the extraction asks for; None where no model runs."""

    @property
    def bytes(self) -> int | None:
        return None if self.rows is None or self.row_bytes is None else self.rows * self.row_bytes

    @property
    def seconds(self) -> float | None:
        """How long the model runs: for the stores, or for one training on a stream."""
        rows = self.rows if self.streamed is None else self.streamed
        return rows / self.rate if rows and self.rate else None


def need(config: Mapping[str, Any], source: str) -> Need:
    """Return what the activations of a source of a valid configuration take."""
    kind = source_kind(config, source)
    settings = config["sources"][kind][source]
    streamed = None
    parts = [settings.get(f"{part}_samples") for part in ("train", "test")]
    if settings.get("stream"):
        run = settings["run"]
        streamed = run.get("steps", 0) * run.get("batch_size", 0) or settings["train_samples"]
        parts = parts[1:]
    rows = None if None in parts else sum(parts) * (len(bench_seeds(config, source)) if kind == "bench" else 1)
    width = settings.get("n_p")
    if kind == "bench":
        width += settings["n_r"] or 0
    dtype = settings.get("store_dtype", "float16" if kind == "llama" else "float32")
    row_bytes = None if width is None else width * _BYTES[dtype]
    rate = settings.get("samples_per_second")
    return Need(source, rows, row_bytes, rate, streamed, settings.get("shards", 1))


def describe(found: Need, free: int) -> str:
    """Return one line on a need, with the bytes that are ``free``."""
    if found.row_bytes is None:
        size = "size unknown until the model is there (set n_p)"
    elif found.bytes is None:
        size = f"{found.row_bytes / 1e3:.3g} kB a sample, as many as there are"
    else:
        size = f"{_gigabytes(found.bytes)}"
        if found.bytes > free:
            size += ", which does not fit"
    facts = [size, f"{free / 1e9:.3g} GB are free"]
    if found.memory is not None:
        facts.append(f"{found.memory / 1e3:.3g} GB of memory a job")
    if found.streamed is not None:
        stored = (
            "" if found.row_bytes is None else f", {_gigabytes(found.streamed * found.row_bytes)} if it stored them"
        )
        facts[0] += " for evaluation"
        facts.append(f"each training streams {found.streamed:,} samples{stored}")
    if found.seconds is None and found.memory is not None:  # else no model runs, and it takes seconds
        facts.append("time unknown (set samples_per_second)")
    if found.seconds is not None:
        parts = f", over {found.parts} jobs" if found.parts > 1 else ""
        facts.append(f"about {_duration(found.seconds)} at {found.rate:,g} samples a second{parts}")
    return f"activations of {found.source}: {'; '.join(facts)}"


def lines(
    config: Mapping[str, Any],
    sources: Iterable[str],
    folder: Path,
    memory: Callable[[str], int | None] = lambda source: None,
) -> list[str]:
    """Return what is to be told before work begins: a line for each source that is large, or may be.

    Where the others are large together, there is one for them.

    Parameters
    ----------
    config
        A valid configuration.
    sources
        Names of sources.
    folder
        Where stores will lie; free space is that of its nearest parent that exists.
    memory
        Gives the megabytes that a job of a source's extraction asks for.
    """
    while not folder.exists():
        folder = folder.parent
    free = disk_usage(folder).free
    needs = [need(config, source) for source in sources]
    told = [n for n in needs if _is_open(config, n) or _size(n) >= WORTH_TELLING]
    others = [n for n in needs if n not in told and n.bytes is not None]
    small = sum(n.bytes or 0 for n in others)
    # the points of a sweep are small one by one
    rest = [f"activations of {len(others)} smaller sources: {_gigabytes(small)}; {free / 1e9:.3g} GB are free"]
    return [describe(n._replace(memory=memory(n.source)), free) for n in told] + rest * (small >= WORTH_TELLING)


def _size(found: Need) -> int:
    return max(found.bytes or 0, (found.streamed or 0) * (found.row_bytes or 0))


def _is_open(config: Mapping[str, Any], found: Need) -> bool:
    """Tell whether a source's size hangs on what is not there yet, by its own settings."""
    settings = config["sources"][source_kind(config, found.source)][found.source]
    return found.rows is None and settings.get("n_p") is not None


def _gigabytes(number: int) -> str:
    return f"{number / 1e9:,.4g} GB" if number < 10**12 else f"{number / 1e9:,.0f} GB"


def _duration(seconds: float) -> str:
    if seconds < 5400:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours" if seconds < 3 * 86400 else f"{seconds / 86400:.0f} days"
