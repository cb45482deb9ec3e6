"""Record the history of a training, write it as CSV, and read it."""

import csv
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sdlcore.storage.files import atomic_path, disk_errors

if TYPE_CHECKING:
    from torch import Tensor

Row = dict[str, float]
"""A row of a history: values by name."""
Sink = Callable[[Sequence[Row]], object]
"""Called with all rows so far: at the start, with the rows of the checkpoint, and after each new row."""
Watch = Callable[[Mapping[str, "Tensor"]], Row]
"""Takes ``encoder`` and ``decoder`` rows for raw activations; returns further entries for a history row."""


class History:
    """The rows of one training, and the sinks that show them.

    Sinks get the rows of the checkpoint first, so a resumed training shows the same rows as an uninterrupted one.
    """

    def __init__(self, rows: Sequence[Row] = (), sinks: Sequence[Sink] = ()) -> None:
        self.rows, self.sinks = list(rows), sinks

    def show(self) -> None:
        """Call the sinks with the rows so far."""
        for sink in self.sinks:
            sink(self.rows)

    def add(self, row: Row) -> None:
        """Append a row, and show it."""
        self.rows.append(row)
        self.show()


def write_history(path: str | Path, rows: Sequence[Row]) -> None:
    """Write a history to a CSV file, which appears at once."""
    with atomic_path(path) as part, csv_rows(part) as write:
        write(rows)


@contextmanager
def csv_rows(path: Path) -> Iterator[Sink]:
    """Yield a sink that writes rows as CSV, flushed row by row. The file appears with the first row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # another user may have put a link there, and mode "x" does not follow links
    with disk_errors(path), ExitStack() as stack:
        table: csv.DictWriter[str] | None = None
        written = 0

        def write(rows: Sequence[Row]) -> None:
            nonlocal table, written
            for row in rows[written:]:
                if table is None:
                    file = stack.enter_context(path.open("x", newline="", encoding="utf-8", buffering=1))
                    stack.callback(os.fsync, file.fileno())
                    table = csv.DictWriter(file, list(row), lineterminator="\n")
                    table.writeheader()
                table.writerow(row)
            written = len(rows)

        yield write


def read_history(path: str | Path) -> list[Row]:
    """Read the history of a training from its CSV file.

    Raises
    ------
    ValueError
        If the file is not a history; the message names it.
    """
    with Path(path).open(newline="", encoding="utf-8") as file:
        try:
            return [{name: _number(value) for name, value in row.items()} for row in csv.DictReader(file)]
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: not a history ({error})") from error


def _number(text: str) -> float:
    """Return whole numbers as they were written, so that a copy of a history is the same file."""
    return int(text) if text.isdecimal() else float(text)
