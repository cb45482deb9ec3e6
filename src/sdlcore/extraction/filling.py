"""Fill stores with rows of a model's activations.

`fill_stores` runs a model over its `Inputs`, and gives the rows to one store or several. A `StorePlan` chooses the rows
of a store. After a kill, each store continues from its last commit.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from typing import Annotated, Any, NamedTuple

import numpy as np
from torch import nn

from sdlcore.data.pairs import in_order
from sdlcore.data.writing import ResumableWriter, resume_store
from sdlcore.errors import SourceError
from sdlcore.extraction.config import TokensOf
from sdlcore.extraction.engine import WITHIN, ActivationBatch, Call, Items, ToRows, activations
from sdlcore.extraction.hooks import Point
from sdlcore.settings import FromList, Json, Settings

log = logging.getLogger(__name__)

COMMIT_BATCHES = 16
"""Number of batches between commits, which survive a kill."""


class Chosen(NamedTuple):
    """The rows of a batch that a store takes."""

    progress: Any
    """Progress after the batch."""
    indices: np.ndarray
    references: Mapping[str, np.ndarray]
    """Name -> where each of these rows comes from."""
    labels: np.ndarray | None = None


class StorePlan(NamedTuple):
    """What a store contains, and how its rows are chosen."""

    points: Mapping[str, Point]
    """Column of the store -> place."""
    facts: Mapping[str, Json]
    """Provenance."""
    choose: Callable[[Any, ActivationBatch, int | None], Chosen]
    """Chooses rows of a batch, given the progress before it and the largest number of rows."""
    begin: Any
    """Progress of a store without rows. Progress is saved with each commit. Its ``next`` is where the next batch
    begins, as in `Call.origin`, and its ``facts()`` are counts for the provenance of the finished store."""
    class_names: list[str] | None = None


class Inputs(NamedTuple):
    """The inputs of a model."""

    name: str
    """Name for messages."""
    calls: Callable[[Any], Iterator[Call]]
    """Returns the calls after a store's progress."""
    rows: ToRows
    remedy: str
    """Advice if the inputs give too few rows."""
    check: Callable[[Any], None] = lambda progress: None
    """Called with the progress of each store at the end."""


class Filling:
    """A store that is filled with at most ``max_rows`` rows of batches (None for all), from its last commit on."""

    def __init__(self, writer: ResumableWriter, plan: StorePlan, max_rows: int | None) -> None:
        self.writer, self.plan, self.max_rows = writer, plan, max_rows
        self.progress, self._batches = writer.state(plan.begin), 0

    @property
    def is_full(self) -> bool:
        return self.max_rows is not None and self.writer.rows >= self.max_rows

    def take(self, batch: ActivationBatch) -> None:
        """Append the rows of a batch that the store takes, and commit now and then."""
        before = self.writer.rows
        rows_left = None if self.max_rows is None else self.max_rows - before
        self.progress, indices, references, labels = self.plan.choose(self.progress, batch, rows_left)
        if len(indices):
            values = {name: x[indices] for name, x in batch.values.items()}
            self.writer.append(*in_order(values), labels=labels, references=references)
        self._batches += 1
        if self._batches % COMMIT_BATCHES == 0 or self.is_full:
            self.writer.commit(self.progress)
        if self.max_rows and before * 10 // self.max_rows < self.writer.rows * 10 // self.max_rows:
            log.info("%d of %d rows", self.writer.rows, self.max_rows)


def fill_stores(
    stack: ExitStack,
    model: nn.Module,
    inputs: Inputs,
    stores: Mapping[Any, StorePlan],
    max_rows: int | None,
    dtype: str = "float16",
    show: Callable[[Any, int], None] = lambda origin, rows: None,
) -> list[Any]:
    """Fill stores in one pass of the model over its inputs, and return the progress of each.

    ``stores`` maps files to plans. The files appear when ``stack`` is closed. The pass begins at the earliest progress
    of the stores. ``show`` is called after each batch, with `Call.origin` and the number of rows of
    the first store. SourceError if the inputs give fewer than ``max_rows`` rows, or none.
    """
    fillings = []
    for path, plan in stores.items():
        writer = stack.enter_context(resume_store(path, plan.facts, dtype, plan.class_names))
        fillings.append(Filling(writer, plan, max_rows))
    if unfinished := [filling.progress for filling in fillings if not filling.is_full]:
        _fill(model, inputs, fillings, min(unfinished, key=lambda progress: progress.next), dtype, show)
    for filling in fillings:
        inputs.check(filling.progress)
        rows = filling.writer.rows
        if not (rows if max_rows is None else filling.is_full):
            goal = "" if max_rows is None else f" of {max_rows}"
            raise SourceError(f"{inputs.name}: ends after {rows}{goal} rows; {inputs.remedy}")
        filling.writer.provenance |= filling.progress.facts()
    return [filling.progress for filling in fillings]


def _fill(
    model: nn.Module,
    inputs: Inputs,
    fillings: Sequence[Filling],
    progress: Any,
    dtype: str,
    show: Callable[[Any, int], None],
) -> None:
    """Give the batches after a store's progress to all stores that need them."""
    at = progress.next
    points = {(key, name): point for key, each in enumerate(fillings) for name, point in each.plan.points.items()}
    with closing(activations(model, points, inputs.calls(progress), inputs.rows, dtype)) as batches:
        for origin, *parts in batches:
            for key, filling in enumerate(fillings):
                if filling.progress.next == at and not filling.is_full:
                    store_parts = [{name: x for (store, name), x in part.items() if store == key} for part in parts]
                    filling.take(ActivationBatch(origin, *store_parts))
            at = origin.next
            show(origin, fillings[0].writer.rows)
            if all(filling.is_full for filling in fillings):
                break
    for filling in fillings:
        filling.writer.commit(filling.progress)


class ItemProgress(Settings):
    """Progress of filling a store with items."""

    next: int = 0
    """Number of the item that the next pass begins with."""
    skipped: Annotated[tuple[Annotated[tuple[str, str], FromList], ...], FromList] = ()
    """Path and reason of each item that could not be read so far."""

    def facts(self) -> dict[str, Json]:
        return {"skipped": [{"path": path, "reason": reason} for path, reason in self.skipped]}


def item_plans(
    facts: Mapping[str, Json],
    name: str,
    tokens: TokensOf,
    groups: Sequence[Mapping[str, Point]],
    names: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    class_names: list[str] | None = None,
) -> list[StorePlan]:
    """Return the plan of a store with the rows of all items, for each group of places (column -> place).

    ``name`` is the reference that names the item of a row, and ``names`` its value for each item, or None for the
    item's number. If an item has several rows, another reference is the index of the row in it.
    ``labels`` are the classes of the items.
    """

    def choose(_: ItemProgress, batch: ActivationBatch, max_rows: int | None) -> Chosen:
        items: Items = batch.origin
        rows = len(next(iter(batch.values.values()), ()))
        each = rows // max(1, len(items.indices))
        item_N = np.repeat(np.asarray(items.indices, dtype=np.int64), each)[:max_rows]
        references = {name: item_N.astype(np.int32) if names is None else names[item_N]}
        if tokens in WITHIN:
            references[WITHIN[tokens]] = np.tile(np.arange(each, dtype=np.int32), len(items.indices))[:max_rows]
        progress = ItemProgress(next=items.next, skipped=items.skipped)
        return Chosen(progress, np.arange(len(item_N)), references, None if labels is None else labels[item_N])

    return [StorePlan(points, facts, choose, ItemProgress(), class_names) for points in groups]
