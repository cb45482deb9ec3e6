"""The generated tables and the page of a benchmark run. Nobody edits them."""

import csv
import io
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.cases import BATCHES, LIBRARIES
from sdlcore.storage.files import atomic_path

Row = Mapping[str, Any]

STEPS = (
    *("processor", "library", "method", "batch", "dtype", "ms_per_step", "peak_mb"),
    *("state", "l0", "ms_least", "ms_most", "rounds", "steps"),
)
BEGINS = {batch: f"<!-- batches of {batch}, made by make benchmark -->" for batch in BATCHES}
"""Markers in docs/speed.md for the table of each batch size."""
ENDS = "<!-- end -->"
PEERS = tuple(library for library in LIBRARIES if library != "sdlcore")


@dataclass
class Record:
    """Rows and failures so far. A killed run leaves all cases that it had finished."""

    folder: Path
    facts: dict[str, Any]
    """Date, machine, arguments and similar facts about the run."""
    steps: list[Row] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    """Cause of each failure, by the name of the case."""
    started: float = field(default_factory=time.monotonic)

    def add(self, steps: Iterable[Row], versions: dict[str, str], failed: dict[str, str]) -> None:
        """Add rows, versions and failures, and write everything."""
        self.steps += steps
        self.versions |= versions
        self.failed |= failed
        self.write()

    def write(self, finished: bool = False) -> None:
        """Write everything so far, each file atomically."""
        minutes = (time.monotonic() - self.started) / 60
        found = {"minutes": minutes, "versions": self.versions, "failed": self.failed, "finished": finished}
        write(self.folder, self.steps, {**self.facts, **found})


def to_csv(rows: Iterable[Row], columns: Sequence[str]) -> str:
    """Return rows as CSV: numbers with six digits, missing values empty."""
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: _cell(value) for key, value in row.items()})
    return out.getvalue()


def read(path: Path) -> list[Row]:
    """Return the rows of a CSV file, with all values as text."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write(folder: Path, steps: Sequence[Row], facts: Row) -> None:
    """Write steps.csv and README.md, each atomically."""
    for name, content in {"steps.csv": to_csv(steps, STEPS), "README.md": page(facts)}.items():
        with atomic_path(folder / name) as part:
            part.write_text(content)


def summary(steps: Iterable[Row], batch: int) -> str:
    """Return the table of one processor in docs/speed.md: the libraries' float32 steps at a batch size, and the fastest
    peer's time over ours. Methods that no peer has are left out.

    Parameters
    ----------
    steps
        Rows of steps.csv.
    batch
        The batch size.
    """
    times: dict[tuple[str, str], dict[str, float]] = {}
    for row in steps:
        if int(row["batch"]) == batch and row["dtype"] == "float32":
            times.setdefault((row["method"], str(row["state"])), {})[row["library"]] = float(row["ms_per_step"])
    rows = [["method", "L0", "ours", *PEERS, "fastest peer / ours"]]
    rows.append(["---"] * len(rows[0]))
    for names, ms in times.items():
        if "sdlcore" in ms and len(ms) > 1:
            ratio = min(ms[peer] for peer in PEERS if peer in ms) / ms["sdlcore"]
            cells = [f"{ms[library]:.0f}" if library in ms else "" for library in ("sdlcore", *PEERS)]
            rows.append([*names, *cells, f"{ratio:.1f}"])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def by_processor(results: Path, batch: int) -> str:
    """Return the tables of docs/speed.md for one batch size: one for each processor, headed by its name.

    ``results`` is a folder of folders, each with the results of one processor. Empty tables are left out.
    """
    parts = []
    for path in sorted(results.glob("*/steps.csv")):
        steps = read(path) if path.parent.name != "partial" else []
        table = summary(steps, batch)
        if len(table.splitlines()) > 2:
            parts.append(f"**{steps[0]['processor']}**\n\n{table}")
    return "\n\n".join(parts)


def show(page: Path, begins: str, text: str) -> None:
    """Insert a text between the line ``begins`` of a page and the next `ENDS`, atomically.

    Raises
    ------
    ValueError
        If the page has no such markers.
    """
    head, found, rest = page.read_text().partition(begins)
    _, ends, tail = rest.partition(ENDS)
    if not (found and ends):
        raise ValueError(f"{page}: nothing between {begins} and {ENDS}, where the benchmark's table belongs")
    with atomic_path(page) as part:
        part.write_text(f"{head}{begins}\n{text.rstrip()}\n{ENDS}{tail}")


def show_all(results: Path, page: Path) -> None:
    """Insert the tables of all processors into docs/speed.md."""
    for batch, begins in BEGINS.items():
        show(page, begins, by_processor(results, batch))


def page(facts: Row) -> str:
    """Return the page of a run: its date, machine and versions, and what failed."""
    flags = ", ".join(f"{flag} {'yes' if has else 'no'}" for flag, has in facts["flags"].items())
    versions = ", ".join(f"{name} {version}" for name, version in sorted(facts["versions"].items()))
    warnings = f"\n**Part of the benchmark only: `{facts['arguments']}`.**\n" if facts["partial"] else ""
    warnings += "" if facts["finished"] else "\n**The benchmark had not finished when this was written.**\n"
    if facts["failed"]:
        failed = "\n".join(f"- {name}: {why.strip().splitlines()[-1]}" for name, why in facts["failed"].items())
        warnings += f"\n**What failed, and is missing below:**\n\n{failed}\n"
    return f"""# Results of the benchmark

Made by `make benchmark`; do not edit. `benchmarks/README.md` describes the measurements; all numbers in
`steps.csv` beside this page.
{warnings}
- Date: {facts["date"]}; the run took {facts["minutes"]:.0f} minutes; load average before it {facts["load"]:.2f}
- Commit: {facts["commit"]}
- Machine: {facts["cpu"]}, {facts["cores"]} cores, {facts["memory_gib"]:.0f} GiB; {flags}
- Threads: {facts["threads"]} in every library, waiting without spinning (OMP_WAIT_POLICY=PASSIVE)
- Versions: {versions}; Python {facts["python"]}; {facts["system"]}
"""


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else value
