"""Rows of a language model's passes into a store, from where it was left."""

import logging
import math
from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any

import numpy as np

from sdlcore.data.parts import ResumableWriter
from sdlcore.sources.language.forward import KEPT, KINDS, Batch, RowKinds
from sdlcore.sources.language.tokens import following

log = logging.getLogger(__name__)

COMMIT_BATCHES = 16
"""Batches after which a store is made safe against a kill."""


class Filling:
    """Fills a store with the first ``wanted`` rows that are kept, from a place of the text on or where it was left."""

    def __init__(self, writer: ResumableWriter, wanted: int, place: int) -> None:
        self._writer = writer
        self._split = writer.provenance["split"]
        self._wanted = wanted
        begin = {"first_place": place, "place": place, "position": 0, "last_place": place - 1, "contexts": 0}
        self._state: dict[str, Any] = begin | {"rows_by_kind": dict.fromkeys(KINDS, 0)} | writer.state
        self._batches = 0

    @property
    def last_place(self) -> int:
        """Place of the last document that a context used so far touches."""
        return self._state["last_place"]

    def run(self, batches_from: Callable[[int, int], Generator[Batch, None, None]], kinds: RowKinds) -> bool:
        """Return whether the text had as many rows."""
        writer, state = self._writer, self._state
        with closing(batches_from(state["place"], state["position"])) as batches:
            while writer.rows < self._wanted:
                batch = next(batches, None)
                if batch is None:
                    return False
                self._append(batch, kinds)
                self._batches += 1
                if self._batches % COMMIT_BATCHES == 0 or writer.rows == self._wanted:
                    writer.commit(state)
        writer.provenance |= {name: state[name] for name in ("first_place", "contexts", "rows_by_kind")}
        log.info(
            "%s: %d contexts up to the document in place %d, rows by kind %s",
            *(self._split, state["contexts"], state["last_place"], state["rows_by_kind"]),
        )
        return True

    def _append(self, batch: Batch, kinds: RowKinds) -> None:
        tokens, before = batch.tokens, self._writer.rows
        kind_N = kinds.of(tokens, batch.norms)
        kept = np.flatnonzero(kind_N == KEPT)[: self._wanted - before]
        if before + len(kept) == self._wanted:  # what comes after the last row is neither used nor counted
            kind_N = kind_N[: kept[-1] + 1]
        used = math.ceil(len(kind_N) / tokens.token.shape[1])
        references = {name: getattr(tokens, name).ravel()[kept] for name in ("document", "position", "token")}
        columns = {name: values[kept] for name, values in batch.values.items()}
        self._writer.append(columns["input"], columns.get("target"), references=references)
        self._state["contexts"] += used
        for name, count in zip(KINDS, np.bincount(kind_N, minlength=len(KINDS)), strict=True):
            self._state["rows_by_kind"][name] += int(count)
        self._state["place"], self._state["position"] = following(tokens)
        in_documents = tokens.document[:used] >= 0
        self._state["last_place"] = int(tokens.place[:used][in_documents].max(initial=self._state["last_place"]))
        if before * 10 // self._wanted < self._writer.rows * 10 // self._wanted:
            log.info("%s: %d of %d rows", self._split, self._writer.rows, self._wanted)
