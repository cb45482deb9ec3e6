"""What activations will take on disk and in time, told before anything runs."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from shutil import disk_usage
from typing import Any, NamedTuple

from sdlcore.config import source_kind

WORTH_TELLING = 10**9
"""Bytes from which stores are worth a line before the work begins."""
_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


class Need(NamedTuple):
    """What the stores of one source take."""

    source: str
    rows: int | None
    """Samples of both stores, over all seeds that draw their own; None for as many as there are."""
    row_bytes: int | None
    """Bytes of a sample; None where dimensions are known only once the model is there."""
    seconds: float | None
    """How long extraction takes; None where no throughput is configured."""

    @property
    def bytes(self) -> int | None:
        return None if self.rows is None or self.row_bytes is None else self.rows * self.row_bytes


def need(config: Mapping[str, Any], source: str) -> Need:
    """Return what the stores of a source of a valid configuration take."""
    kind = source_kind(config, source)
    settings = config["sources"][kind][source]
    parts = [settings.get(f"{part}_samples") for part in ("train", "test")]
    rows = None if None in parts else sum(parts) * (len(config["seeds"]) if kind == "bench" else 1)
    width = settings.get("n_p")
    if kind == "bench":
        width += settings["n_r"] or 0
    rate = settings.get("samples_per_second")
    dtype = settings.get("store_dtype", "float16" if kind == "llama" else "float32")
    row_bytes = None if width is None else width * _BYTES[dtype]
    return Need(source, rows, row_bytes, rows / rate if rows and rate else None)


def describe(found: Need, free: int) -> str:
    """Return one line on a need, with the bytes that are ``free``."""
    if found.row_bytes is None:
        size = "size unknown until the model is there (set n_p)"
    elif found.bytes is None:
        size = f"{found.row_bytes / 1e3:.3g} kB a sample, as many as there are"
    else:
        size = f"{found.bytes / 1e9:,.4g} GB"
        if found.bytes > free:
            size += ", which does not fit"
    time = "time unknown (set samples_per_second)" if found.seconds is None else f"about {_duration(found.seconds)}"
    return f"activations of {found.source}: {size}; {free / 1e9:.3g} GB are free; {time}"


def lines(config: Mapping[str, Any], sources: Iterable[str], folder: Path) -> list[str]:
    """Return what is to be told before work begins: a line for each source that is large, or may be.

    ``folder`` is where stores will lie, or its nearest parent that exists.
    """
    while not folder.exists():
        folder = folder.parent
    free = disk_usage(folder).free
    needs = [need(config, source) for source in sources]
    return [describe(n, free) for n in needs if _is_open(config, n) or (n.bytes or 0) >= WORTH_TELLING]


def _is_open(config: Mapping[str, Any], found: Need) -> bool:
    """Tell whether a source's size hangs on what is not there yet, by its own settings."""
    settings = config["sources"][source_kind(config, found.source)][found.source]
    return found.rows is None and settings.get("n_p") is not None


def _duration(seconds: float) -> str:
    if seconds < 5400:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours"
