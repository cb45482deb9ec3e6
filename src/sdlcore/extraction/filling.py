"""Fill a store with rows from a language model's passes, and resume after an interruption."""

import logging
import math
from collections.abc import Callable

import numpy as np

from sdlcore.data.pairs import in_order, input_target_more
from sdlcore.data.resumable import ResumableWriter
from sdlcore.extraction.forward import KEPT, KINDS, Batch, RowKinds
from sdlcore.extraction.tokens import following
from sdlcore.settings import Settings

log = logging.getLogger(__name__)

COMMIT_BATCHES = 16
"""Number of batches between commits, which survive a kill."""


class Progress(Settings):
    """Progress of filling a store, saved after each commit."""

    first_place: int
    """Place of the document that filling began with."""
    place: int
    """Place of the document that the next context begins in."""
    position: int
    """Position of the next context's first token in that document."""
    last_place: int
    """Place of the last document in any context so far."""
    contexts: int
    """Number of contexts used so far."""
    rows_by_kind: dict[str, int]
    """Number of tokens of each of `KINDS`."""


class Filling:
    """Fill a store with the first kept rows, from a place of the text on, or from the last commit.

    Parameters
    ----------
    writer
        Writer of the store.
    most
        Largest number of rows; None for all of the text.
    place
        Place of the first document.
    show
        Called with the number of rows in the store after each batch.
    """

    def __init__(
        self, writer: ResumableWriter, most: int | None, place: int, show: Callable[[int], None] | None = None
    ) -> None:
        self._writer = writer
        self._split = writer.provenance["split"]
        self._most = math.inf if most is None else most
        self._show = show
        self._progress = writer.state(
            Progress(
                first_place=place,
                place=place,
                position=0,
                last_place=place - 1,
                contexts=0,
                rows_by_kind=dict.fromkeys(KINDS, 0),
            )
        )
        self._batches = 0

    @property
    def last_place(self) -> int:
        """Place of the last document in any context so far."""
        return self._progress.last_place

    @property
    def first_place(self) -> int:
        """Place of the document that filling began with."""
        return self._progress.first_place

    @property
    def at(self) -> tuple[int, int]:
        """Place of the document that the next context begins in, and the position of its first token there."""
        return self._progress.place, self._progress.position

    @property
    def is_full(self) -> bool:
        return self._writer.rows >= self._most

    @property
    def rows(self) -> int:
        """Rows in the store."""
        return self._writer.rows

    def take(self, batch: Batch, kinds: RowKinds) -> None:
        """Append the kept rows of a batch, up to the number of rows that the store still needs."""
        self._append(batch, kinds)
        self._batches += 1
        if self._batches % COMMIT_BATCHES == 0 or self.is_full:
            self._writer.commit(self._progress)

    def finish(self) -> bool:
        """Return whether the store is complete. Without a number of rows, one row is enough."""
        writer = self._writer
        if not self.is_full:  # the text ended
            if self._most < math.inf or not writer.rows:
                return False
            writer.commit(self._progress)
        done = self._progress
        writer.provenance |= {
            "first_place": done.first_place,
            "contexts": done.contexts,
            "rows_by_kind": done.rows_by_kind,
        }
        log.info(
            "%s: %d contexts up to the document in place %d, rows by kind %s",
            *(self._split, done.contexts, done.last_place, done.rows_by_kind),
        )
        return True

    def _append(self, batch: Batch, kinds: RowKinds) -> None:
        tokens, before = batch.tokens, self._writer.rows
        kind_N = kinds.of(tokens, batch.norms)
        indices = np.flatnonzero(kind_N == KEPT)
        indices = indices[: int(min(self._most - before, len(indices)))]
        if before + len(indices) == self._most:  # tokens after the last row are neither used nor counted
            kind_N = kind_N[: indices[-1] + 1]
        used = math.ceil(len(kind_N) / tokens.token.shape[1])
        references = {name: getattr(tokens, name).ravel()[indices] for name in ("document", "position", "token")}
        columns = {name: values[indices] for name, values in batch.values.items()}
        x, target, more = input_target_more(in_order(columns))
        self._writer.append(x, target, references=references, more=more)
        counts = dict(zip(KINDS, np.bincount(kind_N, minlength=len(KINDS)).tolist(), strict=True))
        place, position = following(tokens)
        in_documents = tokens.document[:used] >= 0
        last, done = self._progress, tokens.place[:used][in_documents]
        self._progress = Progress(
            first_place=last.first_place,
            place=place,
            position=position,
            last_place=int(done.max(initial=last.last_place)),
            contexts=last.contexts + used,
            rows_by_kind={name: last.rows_by_kind[name] + count for name, count in counts.items()},
        )
        if self._show is not None:
            self._show(self._writer.rows)
        if before * 10 // self._most < self._writer.rows * 10 // self._most:
            log.info("%s: %d of %d rows", self._split, self._writer.rows, self._most)
