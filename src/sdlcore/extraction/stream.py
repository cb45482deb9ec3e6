"""Stream activations: models run while a dictionary is trained, and training rows are not stored.

`stream` reads one model or several in Python. In a pipeline, `write_language_recipe` writes an evaluation store from
the first documents of the text, and a recipe of the rows that follow: a small JSON file. A training reads batches from
a buffer of rows, in random order. After a buffer is used up, the next rows of the text fill it. After the end of the
text, the stream continues at its beginning.

If several processes train together, they take turns in running the model over batches of contexts, and exchange the
activations. Each process gets all rows, and the rows are the same bits for any number of processes.

A training that was interrupted resumes with the same bits. A pipeline's training finds its place in the text by
*marks*, a small file beside its checkpoint that records the beginning of each buffer. So the model repeats at most two
buffers: the buffer at the interruption, and the first buffer, on which normalisation is fitted. In Python, the text
before the buffer is only tokenised.
"""

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from sdlcore.data.arrays import Arrays
from sdlcore.data.batches import Request, TrainingRows, starts_of_pairs
from sdlcore.data.pairs import in_order, make_pair, site_column
from sdlcore.data.reading import ActivationStore
from sdlcore.errors import SourceError
from sdlcore.extraction.config import Drop, LanguageSource, TextOptions, fitting_length
from sdlcore.extraction.engine import ActivationBatch, activations, context_calls, token_rows
from sdlcore.extraction.hooks import Point, point_at
from sdlcore.extraction.language import open_source, write_splits
from sdlcore.extraction.models import tokenizer_of
from sdlcore.extraction.text import opened_text
from sdlcore.extraction.tokens import KEPT, RowKinds, TokenisedText, Tokens
from sdlcore.random_streams import stream as random_stream
from sdlcore.settings import checked
from sdlcore.storage.files import remove_leftovers, sha256_of, write_json
from sdlcore.storage.parsing import parsing

log = logging.getLogger(__name__)

FORMAT = "sdlcore activation stream"
VERSION = 1
PATIENCE = timedelta(minutes=10)
"""Time limit for waiting for other processes."""
Columns = dict[str, np.ndarray]
"""Rows of each site, by column."""


class _Mark(NamedTuple):
    """Where a batch of contexts begins: the number of rows before it, and a token of a document."""

    row: int
    place: int
    position: int


class TextStream:
    """Batches of activations by the step, which models compute from a text when they are needed.

    Buffer g contains the rows g R to (g + 1) R - 1, in random order; R is a multiple of the batch size. Reading the
    steps in order takes one pass over the text. Going back starts at a mark.

    Parameters
    ----------
    models
        Each model with its places: column -> place.
    text
        The text, in contexts.
    kinds
        Kinds of rows to leave out.
    batch_size, buffer_rows
        Rows of a batch, and the largest number of rows in a buffer, which has at least one batch.
    order
        Returns the random stream that shuffles a buffer.
    first_place
        Place of the document that the stream begins with.
    in_pairs
        Whether rows 2 i and 2 i + 1 are neighbouring tokens. Other tokens then do not occur.
    marks, identity
        File that records the beginnings of buffers, and the stream's name in it; marks of other streams are ignored.
    group
        The processes that train together, if there are several. All read the same batches.
    """

    def __init__(
        self,
        models: Sequence[tuple[nn.Module, Mapping[str, Point]]],
        text: TokenisedText,
        kinds: RowKinds,
        batch_size: int,
        buffer_rows: int,
        order: Callable[[int], np.random.Generator],
        first_place: int = 0,
        in_pairs: bool = False,
        marks: Path | None = None,
        identity: str = "",
        group: dist.ProcessGroup | None = None,
    ) -> None:
        self._models, self._text, self._kinds, self._order = models, text, kinds, order
        self._in_pairs, self._group, self._marks_path = in_pairs, group, marks
        self._batch_size, self.steps = batch_size, max(1, buffer_rows // batch_size)
        self.rows = self.steps * batch_size
        self.columns: Columns = {}
        """Rows of the buffer that was read last, in their order."""
        self._buffer, self._shuffled = -1, np.zeros(0, dtype=np.int64)
        self._coming: Iterator[None] = iter(())
        self._identity = f"{identity}{' in pairs' if in_pairs else ''}"
        self._first_place, self._marks = first_place, {_Mark(0, first_place, 0), *self._read_marks()}

    def __call__(self, step: int) -> list[np.ndarray]:
        """Return the batch of a step, counted from 0: batch_size x D of each place, float32."""
        buffer, place = divmod(step, self.steps)
        self.load(buffer)
        rows = self._shuffled[place * self._batch_size : (place + 1) * self._batch_size]
        values = {name: torch.from_numpy(values[rows]).float().numpy() for name, values in self.columns.items()}
        return in_order(values)

    def first_rows(self) -> Arrays:
        """Return the rows of the first buffer in the order of the text, valid until the next batch is read."""
        self.load(0)
        return Arrays(*in_order(self.columns))

    def load(self, buffer: int) -> None:
        """Read the rows of a buffer into memory."""
        if buffer == self._buffer:
            return
        if buffer == 0 or buffer != self._buffer + 1:
            self._coming = self._buffers_from(buffer)
        next(self._coming)
        if self._in_pairs:
            first = 2 * self._order(buffer).permutation(self.rows // 2)
            self._shuffled = np.stack([first, first + 1], axis=1).ravel()
        else:
            self._shuffled = self._order(buffer).permutation(self.rows)
        self._buffer = buffer

    def _buffers_from(self, buffer: int) -> Iterator[None]:
        """Fill ``columns`` with the rows of a buffer, then of each later one; yield when they are full."""
        filled = 0
        for part in self._rows_from(buffer):
            count, start = len(next(iter(part.values()))), 0
            while start < count:
                few = min(self.rows - filled, count - start)
                for name, values in part.items():
                    if name not in self.columns:
                        self.columns[name] = np.empty((self.rows, values.shape[1]), dtype=values.dtype)
                    self.columns[name][filled : filled + few] = values[start : start + few]
                filled, start = filled + few, start + few
                if filled == self.rows:
                    yield
                    filled = 0

    def _rows_from(self, buffer: int) -> Iterator[Columns]:
        """Yield the rows from the first row of a buffer on. After the end of the text, continue at its beginning."""
        first_row = buffer * self.rows
        row, place, position = max(mark for mark in self._marks if mark.row <= first_row)
        while True:
            before, is_whole = row, (place, position) == (self._first_place, 0)
            for tokens, batch in self._passes(place, position):
                indices = self._row_indices(tokens, {} if batch is None else batch.norms)
                if -row % self.rows < len(indices):  # a buffer begins within this batch
                    self._remember(_Mark(row, place, position))
                if row + len(indices) > first_row:
                    chosen = indices[max(0, first_row - row) :]
                    yield {name: values[chosen] for name, values in (batch or self._run(tokens)).values.items()}
                row += len(indices)
                place, position = tokens.next
            if is_whole and row == before:
                raise SourceError(
                    f"{self._text.name}: no token becomes a row of the stream; take a longer text, or lower "
                    "context_length (in a pipeline, also test_samples)"
                )
            log.info("the text ended; it begins anew")
            place, position = self._first_place, 0

    def _passes(self, place: int, position: int) -> Iterator[tuple[Tokens, ActivationBatch | None]]:
        """Yield batches of contexts, with their activations or None if the tokens alone determine the rows.

        Of n batches, each of n processes runs the models over one, so every process must read the same number.
        """
        coming = self._text.batches(place, position)
        if self._group is None:
            for tokens in coming:
                yield tokens, self._run(tokens) if self._kinds.largest_norm else None
            return
        rank, size = dist.get_rank(), dist.get_world_size()
        while several := list(islice(coming, size)):
            batches: list[ActivationBatch | None] = [None] * size
            batch = self._run(several[rank]) if rank < len(several) else None  # the last ones are fewer than processes
            dist.all_gather_object(batches, batch, self._group)
            yield from zip(several, batches, strict=False)

    def _run(self, tokens: Tokens) -> ActivationBatch:
        """Return the activations of a batch of contexts at the places of all models."""
        batch = ActivationBatch(tokens, {}, {})
        for model, points in self._models:
            (part,) = activations(model, points, context_calls(model, [tokens]), token_rows)
            batch.values.update(part.values)
            batch.norms.update(part.norms)
        return batch

    def _row_indices(self, tokens: Tokens, norms: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the indices of the rows of a batch that the stream contains."""
        indices = np.flatnonzero(self._kinds.of(tokens, norms) == KEPT)
        if self._in_pairs:
            starts = starts_of_pairs(tokens.document.ravel()[indices], tokens.position.ravel()[indices])
            indices = indices[np.stack([starts, starts + 1], axis=1).ravel()]
        return indices

    def _remember(self, mark: _Mark) -> None:
        """Record where the model may continue."""
        if mark in self._marks:
            return
        self._marks.add(mark)
        if self._marks_path is not None and (self._group is None or not dist.get_rank()):  # the first writes for all
            write_json(self._marks_path, {"stream": self._identity, "marks": sorted(self._marks)})

    def _read_marks(self) -> list[_Mark]:
        if self._marks_path is None or not self._marks_path.exists():
            return []
        with parsing(self._marks_path, "marks of a stream", "remove it"):
            content = json.loads(self._marks_path.read_text())
            return [_Mark(*mark) for mark in content["marks"]] if content["stream"] == self._identity else []


def stream(
    models: Any,
    texts: Any,
    *,
    at: Sequence[str],
    tokenizer: Any = None,
    batch_size: int = 1024,
    buffer_rows: int = 2**16,
    context_length: int | None = None,
    contexts_per_batch: int = 16,
    bos: bool | None = None,
    roles: str | Sequence[str] | None = None,
    drop: tuple[str, ...] = ("first_position", "separator"),
    text_options: TextOptions | Mapping[str, Any] | None = None,
    seed: int = 0,
) -> TextStream:
    """Return batches of the activations of two models, or of several places, on the same tokens, without a store.

    Pass it to `fit`: ``sdl.fit(sdl.stream([base, tuned], texts, at=["resid_post.11"] * 2), pair="crosscoder", ...)``. A
    transcoder reads the first place and writes the second. A training with ``out`` that was interrupted resumes with
    the same bits. Memory holds the models, and 2 bytes for each of ``buffer_rows`` rows and each dimension of a place.

    Parameters
    ----------
    models
        A model for each place, which share a tokenizer; or one model.
    texts
        As for `extract`.
    at
        A place for each site, as for `extract`.
    tokenizer
        None for the first model's own.
    batch_size
        Tokens in a batch.
    buffer_rows
        Tokens in memory at once, which batches take in random order.
    context_length, bos, roles, text_options
        As for `extract`.
    contexts_per_batch
        Contexts in a pass of the models.
    drop
        Tokens that get no row: first_position and separator. Outliers in norm would differ between models.
    seed
        Of the order of tokens in a buffer.

    Raises
    ------
    ValueError
        If the numbers of models and places differ, or ``drop`` contains outlier.
    SourceError
        If a model lacks a place, or the text gives no row.
    """
    several = list(models) if isinstance(models, list | tuple) else [models] * len(at)
    if isinstance(at, str) or len(several) != len(at) or not several:
        raise ValueError(f"at must have a place for each of {len(several)} models, found {at!r}")
    drop = checked("drop", Drop, drop)
    if "outlier" in drop:
        raise ValueError("drop contains outlier, but a stream keeps the same tokens of all models; leave it out")
    groups: dict[int, tuple[Any, dict[str, Point]]] = {}
    for site, (model, place) in enumerate(zip(several, at, strict=True)):
        groups.setdefault(id(model), (model, {}))[1][site_column(site)] = point_at(model, place)
    first = several[0]
    length, tokenizer = fitting_length(context_length, getattr(first, "config", None)), tokenizer_of(first, tokenizer)
    text = TokenisedText(opened_text(texts, text_options), tokenizer, length, contexts_per_batch, bos, roles)
    kinds, order = RowKinds(text.separator, {}, drop, roles is not None), partial(random_stream, seed, "order")
    return TextStream(list(groups.values()), text, kinds, batch_size, buffer_rows, order)


def write_language_recipe(
    source: LanguageSource,
    model: str | Path,
    text: str | Path,
    recipe_path: str | Path,
    test_path: str | Path,
    buffer_rows: int = 2**16,
    device: torch.device | None = None,
) -> None:
    """Write a source's evaluation store, and the recipe of the training rows that follow in the text.

    ``buffer_rows`` is the number of rows in memory at once; batches take them in random order. ``train_samples`` is
    ignored. See `sdlcore.extraction.language.write_language_stores` for the other parameters and the errors.
    """
    lm, tokenised, plan = open_source(source, model, text, device=device)
    first_place = write_splits(lm, tokenised, plan, {"test": (test_path, source.test_samples)})
    with ActivationStore(test_path) as store:
        widths = store.widths
    recipe = {"model": str(model), "text": str(text), "first_place": first_place, "buffer_rows": buffer_rows}
    recipe |= {"format": FORMAT, "version": VERSION, "widths": widths, "provenance": plan.facts}
    write_json(recipe_path, recipe)


@contextmanager
def open_language_stream(
    path: str | Path, request: Request, folder: Path, device: torch.device
) -> Iterator[TrainingRows]:
    """Open the stream of a recipe for a training; SourceError if its model or text has changed.

    Normalisation is fitted on the rows of the first buffer. ``folder``, the training's, keeps the marks until the
    training ends. The language model runs on ``device``.
    """
    recipe = json.loads(Path(path).read_text())
    if (recipe["format"], recipe.get("version")) != (FORMAT, VERSION):
        raise SourceError(f"{path}: expected {FORMAT} of version {VERSION}; make the recipe anew")
    facts = recipe["provenance"]
    source = LanguageSource.from_dict(facts["source"])
    lm, text, plan = open_source(source, recipe["model"], recipe["text"], device=device)
    for what in ("model", "text"):
        was = facts[what]
        if json.loads(json.dumps(plan.facts[what])) != was:
            raise SourceError(f"{path}: its {what} has changed, it was {was}; make the recipe anew")
    several = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
    # a separate group: a thread reads batches while the training uses its own
    group: Any = dist.new_group(backend="gloo", timeout=PATIENCE) if several else None  # torch 2.15 returns a union
    marks = folder / "stream.json"
    rows = TextStream(
        [(lm, plan.points)],
        text,
        RowKinds(text.separator, facts["largest_norm"], source.drop),
        request.batch_size,
        recipe["buffer_rows"],
        request.order,
        recipe["first_place"],
        request.neighbours,
        marks,
        sha256_of(path),
        group,
    )
    yield TrainingRows(tuple(recipe["widths"]), lambda step: make_pair(request.pair, *rows(step)), rows.first_rows)
    if group is None or not dist.get_rank():
        marks.unlink(missing_ok=True)
        remove_leftovers(marks, days=0)  # of a process that was killed while it wrote them
