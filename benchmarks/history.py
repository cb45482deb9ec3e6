"""Append the ratios of new benchmark tables to results/history.csv: `python -m benchmarks.history`.

The command reads every version of the tables in git, and the tables in the working tree, so ratios of replaced tables
remain.
"""

import csv
import io
import re
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from benchmarks.machine import processor
from benchmarks.results import PEERS, Row, read, to_csv
from sdlcore.storage.files import atomic_path

RESULTS = Path(__file__).parent / "results"
HISTORY = RESULTS / "history.csv"
COLUMNS = ("date", "commit", "processor", "library", "method", "l0", "ratio")
BATCH = "1024"
"""The batch size that every kept run measured."""


def ratios(steps: Iterable[Row], readme: str, added: str) -> list[Row]:
    """Return a table's ratios: each library's milliseconds per step over ours, both in float32.

    Parameters
    ----------
    steps
        Rows of steps.csv.
    readme
        The page beside it, with the date, the machine and, since commit 3588870, the measured commit.
    added
        The commit that added the table, for pages without a commit.
    """
    times = {
        (row["library"], row["method"], row["state"]): float(row["ms_per_step"])
        for row in steps
        if row["batch"] == BATCH and row["dtype"] == "float32"
    }
    (date,) = re.findall(r"^- Date: (.+?) UTC", readme, flags=re.MULTILINE)
    (commit,) = re.findall(r"^- Commit: (\S+)", readme, flags=re.MULTILINE) or [added]
    (cpu, flags), *_ = re.findall(r"^- Machine: ([^,]+),.*?; (.+)", readme, flags=re.MULTILINE)
    name = processor({"cpu": cpu, "flags": {flag: has == "yes" for flag, has in re.findall(r"(\w+) (yes|no)", flags)}})
    return [
        {"date": date, "commit": commit, "processor": name, "library": library, "method": method, "l0": state}
        | {"ratio": f"{ms / times['sdlcore', method, state]:.3g}"}
        for (library, method, state), ms in times.items()
        if library in PEERS and ("sdlcore", method, state) in times
    ]


def kept() -> Iterator[list[Row]]:
    """Yield the ratios of every version of steps.csv in git, oldest first, then of the files in the working tree."""
    tables = ("--diff-filter=AMR", "--", ":(glob)**/steps.csv", ":(exclude,glob)gpu/**")
    log = _git("log", "--reverse", "--format=@%h", "--abbrev=9", "--name-only", *tables)
    commit = ""
    for line in filter(None, log.splitlines()):
        if line.startswith("@"):
            commit = line[1:]
            continue
        readme = _git("show", f"{commit}:{line.replace('steps.csv', 'README.md')}")
        yield ratios(csv.DictReader(io.StringIO(_git("show", f"{commit}:{line}"))), readme, commit)
    for path in sorted(RESULTS.glob("*/steps.csv")):
        if path.parent.name != "partial":
            yield ratios(read(path), path.with_name("README.md").read_text(), "unknown")


def merged(history: Sequence[Row], tables: Iterable[Iterable[Row]]) -> list[Row]:
    """Return the history with the rows of new tables; a run is known by its date and processor."""
    found = {_key(row): row for row in history}
    for table in tables:
        for row in table:
            found.setdefault(_key(row), row)
    return sorted(found.values(), key=lambda row: row["date"])


def main() -> None:
    """Write the history."""
    rows = merged(read(HISTORY) if HISTORY.exists() else [], kept())
    with atomic_path(HISTORY) as part:
        part.write_text(to_csv(rows, COLUMNS))


def _key(row: Row) -> tuple[str, ...]:
    return tuple(str(row[name]) for name in COLUMNS if name not in ("commit", "ratio"))


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    return subprocess.run(command, cwd=RESULTS, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    main()
