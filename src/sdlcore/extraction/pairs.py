"""Train on the activations of several models, or of several places, without a store: `sdlcore.stream`."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from sdlcore.errors import SourceError
from sdlcore.extraction.config import Drop, TextOptions, fitting_length
from sdlcore.extraction.corpus import opened_text
from sdlcore.extraction.forward import KEPT, RowKinds, read_batches, stack_batches
from sdlcore.extraction.hooks import Point, point_at
from sdlcore.extraction.models import load_tokenizer
from sdlcore.extraction.tokens import TokenisedText
from sdlcore.random_streams import stream as random_stream
from sdlcore.settings import checked


class ModelStream:
    """Batches of activations by the step, computed by models from a text when they are needed.

    Buffer g holds the rows g R to (g + 1) R - 1 of the text, in random order; R is a multiple of the batch size. After
    the end of the text, the stream begins anew. Reading the steps in order takes one pass over the text. To begin at a
    later step, as a resumed training does, the text before it is only tokenised.
    """

    def __init__(
        self,
        models: Sequence[tuple[Any, Mapping[int, Point]]],
        text: TokenisedText,
        context_length: int,
        contexts_per_batch: int,
        drop: tuple[str, ...],
        batch_size: int,
        buffer_rows: int,
        seed: int,
    ) -> None:
        self._models, self._text = models, text
        self._context_length, self._contexts_per_batch = context_length, contexts_per_batch
        self._kinds = RowKinds(text.separator, {}, drop, text.roles is not None)
        self._batch_size, self._seed = batch_size, seed
        self._steps_per_buffer = max(1, buffer_rows // batch_size)
        self._buffer = -1
        self._columns: list[np.ndarray] = []
        self._order = np.empty(0, dtype=np.int64)
        self._rows = self._read(0)
        self._left: list[np.ndarray] = []

    def __call__(self, step: int) -> list[np.ndarray]:
        """Return the batch of a step: batch_size x D of each place, float32."""
        buffer, place = divmod(step, self._steps_per_buffer)
        if buffer != self._buffer:
            self._load(buffer)
        rows = self._order[place * self._batch_size : (place + 1) * self._batch_size]
        return [torch.from_numpy(values[rows]).float().numpy() for values in self._columns]

    def _load(self, buffer: int) -> None:
        rows = self._steps_per_buffer * self._batch_size
        if buffer != self._buffer + 1:
            self._rows, self._left = self._read(buffer * rows), []
        parts, filled = [], 0
        while filled < rows:
            part = self._left or next(self._rows)
            parts.append([values[: rows - filled] for values in part])
            self._left = [values[rows - filled :] for values in part] if len(part[0]) > rows - filled else []
            filled += len(parts[-1][0])
        self._columns = [np.concatenate(values) for values in zip(*parts, strict=True)]
        self._order = random_stream(self._seed, "order", buffer).permutation(rows)
        self._buffer = buffer

    def _read(self, skip: int) -> Iterator[list[np.ndarray]]:
        """Yield the kept rows of each place after the first ``skip`` rows, in the order of the text, without end."""
        while True:
            found = 0
            contexts = self._text.contexts(self._context_length)
            for tokens in stack_batches(contexts, self._contexts_per_batch):
                indices = np.flatnonzero(self._kinds.of(tokens, {}) == KEPT)
                found += len(indices)
                if skip >= len(indices):
                    skip -= len(indices)
                    continue
                values: dict[int, np.ndarray] = {}
                for model, points in self._models:
                    (batch,) = read_batches(model, points, [tokens])
                    values |= batch.values
                yield [values[site][indices[skip:]] for site in sorted(values)]
                skip = 0
            if not found:
                raise SourceError(
                    f"{self._text.name}: no token becomes a row; take a longer text, or lower context_length"
                )


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
    roles: Sequence[str] | None = None,
    drop: tuple[str, ...] = ("first_position", "separator"),
    text_options: TextOptions | Mapping[str, Any] | None = None,
    seed: int = 0,
) -> ModelStream:
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
        None for that of the first model.
    batch_size
        Tokens in a batch.
    buffer_rows
        Tokens in memory, from which batches are drawn in random order.
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
    groups: dict[int, tuple[Any, dict[int, Point]]] = {}
    for site, (model, place) in enumerate(zip(several, at, strict=True)):
        groups.setdefault(id(model), (model, {}))[1][site] = point_at(model, place)
    first = several[0]
    positions = getattr(getattr(first, "config", None), "max_position_embeddings", None)
    text = TokenisedText(
        opened_text(texts, text_options),
        tokenizer or load_tokenizer(first.name_or_path, local=False),
        bos,
        None if roles is None else tuple(roles),
    )
    length = fitting_length(context_length, positions)
    return ModelStream(list(groups.values()), text, length, contexts_per_batch, drop, batch_size, buffer_rows, seed)
