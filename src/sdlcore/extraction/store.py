"""Fill stores with rows from passes of a model, and resume after an interruption."""

import logging
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from sdlcore.data.pairs import in_order, input_target_more
from sdlcore.data.writing import ResumableWriter
from sdlcore.extraction.engine import Batch
from sdlcore.settings import Json

log = logging.getLogger(__name__)

COMMIT_BATCHES = 16
"""Number of batches between commits, which survive a kill."""


class Rows(NamedTuple):
    """The rows of a batch that a store takes."""

    indices: np.ndarray
    references: Mapping[str, np.ndarray]
    """Name -> where each of these rows comes from."""
    labels: np.ndarray | None = None


class Chooser(Protocol):
    """Selects rows of each batch for a store, and records where the next batch begins."""

    progress: Any
    """Where the next batch begins, and counts: settings that are saved with each commit."""

    def choose(self, batch: Batch, most: int | None) -> Rows:
        """Return at most so many rows of a batch, and advance ``progress``."""

    def facts(self) -> dict[str, Json]:
        """Return counts for the provenance of the finished store."""


class Filling:
    """Fill a store with the rows that a chooser takes from batches, from the store's last commit on.

    Parameters
    ----------
    writer
        Writer of the store.
    chooser
        Chooses the rows. Its progress becomes that of the last commit.
    most
        Largest number of rows; None for all.
    show
        Called with the number of rows in the store after each batch.
    """

    def __init__(
        self,
        writer: ResumableWriter,
        chooser: Chooser,
        most: int | None,
        show: Callable[[int], None] | None = None,
    ) -> None:
        self._writer, self._most, self._show = writer, most, show
        self.chooser = chooser
        chooser.progress = writer.state(chooser.progress)
        self._batches = 0

    @property
    def rows(self) -> int:
        """Rows in the store."""
        return self._writer.rows

    @property
    def is_full(self) -> bool:
        return self._most is not None and self.rows >= self._most

    def take(self, values: Batch) -> None:
        """Append the rows of a batch that the store takes, and commit now and then."""
        before = self.rows
        rows = self.chooser.choose(values, None if self._most is None else self._most - before)
        if len(rows.indices):
            x, target, more = input_target_more(in_order({name: x[rows.indices] for name, x in values.values.items()}))
            self._writer.append(x, target, labels=rows.labels, references=rows.references, more=more)
        self._batches += 1
        if self._batches % COMMIT_BATCHES == 0 or self.is_full:
            self.commit()
        if self._show is not None:
            self._show(self.rows)
        if self._most and before * 10 // self._most < self.rows * 10 // self._most:
            log.info("%d of %d rows", self.rows, self._most)

    def commit(self) -> None:
        """Save all rows so far, and the chooser's progress."""
        self._writer.commit(self.chooser.progress)

    def finish(self) -> bool:
        """Return whether the store has all of its rows. Without a number of rows, one row is enough."""
        if not self.is_full:
            if self._most is not None or not self.rows:
                return False
            self.commit()
        self._writer.provenance |= self.chooser.facts()
        return True
