"""Train on the activations of several models, or of several places, without a store: `sdlcore.stream`."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from sdlcore.data.pairs import in_order, site_column
from sdlcore.errors import SourceError
from sdlcore.extraction.buffer import Columns, RowBuffer
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

    After the end of the text, the stream begins anew. To begin at a later step, as a resumed training does, the text
    before it is only tokenised. `RowBuffer` shuffles the rows.
    """

    def __init__(
        self,
        models: Sequence[tuple[Any, Mapping[str, Point]]],
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
        self._buffer = RowBuffer(self._rows_from, batch_size, buffer_rows, partial(random_stream, seed, "order"))

    def __call__(self, step: int) -> list[np.ndarray]:
        """Return the batch of a step: batch_size x D of each place, float32."""
        return in_order(self._buffer.batch(step))

    def _rows_from(self, buffer: int) -> Iterator[Columns]:
        """Yield the kept rows of each place, in the order of the text, without end."""
        skip = buffer * self._buffer.rows
        while True:
            found = 0
            contexts = self._text.contexts(self._context_length)
            for tokens in stack_batches(contexts, self._contexts_per_batch):
                indices = np.flatnonzero(self._kinds.of(tokens, {}) == KEPT)
                found += len(indices)
                if skip < len(indices):
                    values: Columns = {}
                    for model, points in self._models:
                        (batch,) = read_batches(model, points, [tokens])
                        values |= batch.values
                    yield {name: x[indices[skip:]] for name, x in values.items()}
                skip = max(0, skip - len(indices))
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
    groups: dict[int, tuple[Any, dict[str, Point]]] = {}
    for site, (model, place) in enumerate(zip(several, at, strict=True)):
        groups.setdefault(id(model), (model, {}))[1][site_column(site)] = point_at(model, place)
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
