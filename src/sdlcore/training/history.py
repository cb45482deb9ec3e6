"""Record the history of a training, and send its rows to CSV and other sinks as they come.

A sink is a function of the previous rows (none, or the rows of the resumed checkpoint). It returns a context
manager, which yields a function that takes the next row. A sink starts from the previous rows, whatever an earlier
process wrote, so a resumed training shows the same rows as an uninterrupted one.
"""

import csv
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdlcore.storage.files import disk_errors

if TYPE_CHECKING:
    from torch import Tensor

Row = dict[str, float]
"""A row of a history: values by name."""
Write = Callable[[Row], None]
Sink = Callable[[Sequence[Row]], AbstractContextManager[Write]]
"""Receives the rows so far, and returns a context manager of a function that receives each new row."""
Watch = Callable[[Mapping[str, "Tensor"]], Row]
"""Takes ``encoder`` and ``decoder`` rows for raw activations; returns further entries for a history row."""


class History:
    """The rows of one training; each is sent to every sink as it is added.

    Use it as a context manager around the training. It opens all sinks on entry and closes them on exit, where they
    learn of any exception.

    Parameters
    ----------
    rows
        Rows of the checkpoint that is resumed.
    sinks
        Receivers of rows, e.g. ``partial(csv_file, path)``. The last sink is closed first.

    Attributes
    ----------
    rows
        All rows.
    """

    def __init__(self, rows: Sequence[Row] = (), sinks: Sequence[Sink] = ()) -> None:
        self.rows = list(rows)
        self._sinks = sinks
        self._writes: list[Write] = []
        self._open = ExitStack()

    def add(self, row: Row) -> None:
        """Append a row and send it to the sinks."""
        self.rows.append(row)
        for write in self._writes:
            write(row)

    def __enter__(self) -> "History":
        with ExitStack() as stack:  # if one sink fails to open, close the open ones
            self._writes = [stack.enter_context(sink(self.rows)) for sink in self._sinks]
            self._open = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> bool | None:
        self._writes = []
        return self._open.__exit__(*error)


@contextmanager
def csv_file(path: str | Path, rows: Sequence[Row]) -> Iterator[Write]:
    """Write rows as CSV to ``<stem>.part<suffix>`` beside ``path``, which replaces ``path`` when training ends.

    The working file can be watched during the training, and remains if the training fails.
    """
    path = Path(path)
    # not atomic_path, whose temporary name is hidden and random: a watcher needs a stable one
    part = path.with_name(f"{path.stem}.part{path.suffix}")
    with csv_rows(part, rows, path) as write:
        yield write
    part.replace(path)


@contextmanager
def csv_rows(path: Path, rows: Sequence[Row], named: Path | None = None) -> Iterator[Write]:
    """Write rows as CSV, flushed row by row. The file is removed if an error comes before its first row.

    Errors of a full disk name ``named``, or ``path`` if it is None.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # another user may have put a link there, and mode "x" does not follow links
    with disk_errors(named or path), path.open("x", newline="", encoding="utf-8") as file:
        table: csv.DictWriter[str] = csv.DictWriter(file, (), lineterminator="\n")

        def write(row: Row) -> None:
            if not table.fieldnames:
                table.fieldnames = list(row)
                table.writeheader()
            table.writerow(row)
            file.flush()

        try:
            for row in rows:
                write(row)
            yield write
        except BaseException:
            if not table.fieldnames:
                path.unlink(missing_ok=True)
            raise
        os.fsync(file.fileno())


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
