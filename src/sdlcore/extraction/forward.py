"""Run a language model over contexts, and choose the rows to keep."""

from collections.abc import Generator, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from sdlcore.errors import SourceError
from sdlcore.extraction import engine
from sdlcore.extraction.config import Site
from sdlcore.extraction.engine import Batch, Call
from sdlcore.extraction.hooks import Point, Stack, ids_for, is_transformers
from sdlcore.extraction.tokens import Tokens

T = TypeVar("T")
KINDS = ("kept", "first_position", "separator", "outlier", "role")
KEPT, FIRST, SEPARATED, OUTLIER, ROLE = range(len(KINDS))
# tokens that the median norm is measured on: enough for a steady median, few enough to run twice
MEDIAN_ROWS = 2048


class RowKinds(NamedTuple):
    """Kinds of rows to leave out."""

    separator: int
    """Id of the separator token."""
    largest_norm: Mapping[str, float]
    """Norm of a site's activations above which a row is an outlier."""
    drop: tuple[str, ...]
    """Kinds of rows to leave out."""
    by_role: bool = False
    """Whether only tokens of chosen roles of chats are kept."""

    def of(self, tokens: Tokens, norms: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the kind of each row (BT, an index of `KINDS`): the first kind in ``drop`` that matches, or kept."""
        is_first_BT = np.zeros(tokens.token.shape, dtype=bool)
        is_first_BT[:, 0] = True
        is_outlier_N = np.zeros(is_first_BT.size, dtype=bool)
        for site, limit in self.largest_norm.items():
            is_outlier_N |= norms[site] > limit
        tests = [
            (FIRST, is_first_BT.ravel()),
            (SEPARATED, (tokens.token == self.separator).ravel()),
            (OUTLIER, is_outlier_N),
        ]
        kind_N = np.full(is_first_BT.size, KEPT)
        for kind, is_of_it_N in tests:
            if KINDS[kind] in self.drop:
                kind_N[is_of_it_N & (kind_N == KEPT)] = kind
        if self.by_role and tokens.chosen is not None:
            kind_N[(tokens.chosen.ravel() == 0) & (kind_N == KEPT)] = ROLE
        return kind_N


def stack_batches(contexts: Iterable[Tokens], contexts_per_batch: int) -> Iterator[Tokens]:
    """Group contexts (T) into batches (B x T)."""
    coming = iter(contexts)
    while batch := list(islice(coming, contexts_per_batch)):
        columns: list[Any] = [None if arrays[0] is None else np.stack(arrays) for arrays in zip(*batch, strict=True)]
        yield Tokens(*columns)


def activations(
    stack: Stack, sites: Mapping[str, Site], contexts: Iterable[Tokens], contexts_per_batch: int
) -> Generator[Batch, None, None]:
    """Yield the activations at ``sites`` for each batch of contexts, float16. Close the generator."""
    points = {name: stack.point(site) for name, site in sites.items()}
    return read_contexts(stack.model, points, contexts, contexts_per_batch)


def read_contexts(
    model: nn.Module,
    points: Mapping[Any, Point],
    contexts: Iterable[Tokens],
    contexts_per_batch: int,
    dtype: torch.dtype = torch.float16,
) -> Generator[Batch, None, None]:
    """Yield the activations at places for each batch of contexts: a row for each of the B x T tokens."""
    return read_batches(model, points, stack_batches(contexts, contexts_per_batch), dtype)


def read_batches(
    model: nn.Module, points: Mapping[Any, Point], batches: Iterable[Tokens], dtype: torch.dtype = torch.float16
) -> Generator[Batch, None, None]:
    """Yield the activations at places for each batch of tokens (B x T)."""
    return engine.activations(model, points, context_calls(model, batches), token_rows, dtype)


def context_calls(model: nn.Module, batches: Iterable[Tokens]) -> Iterator[Call]:
    """Yield a call for each batch of tokens (B x T)."""
    keywords = {"use_cache": False} if hasattr(getattr(model, "config", None), "use_cache") else {}
    for tokens in batches:
        ids_BT = ids_for(model, tokens.token)
        yield Call({"input_ids": ids_BT, **keywords} if is_transformers(model) else ids_BT, tokens)


def token_rows(x: Tensor, tokens: Tokens) -> Tensor:
    """Return N x D rows from B x T x D activations, which some modules flatten."""
    shape = tokens.token.shape
    if x.ndim == 3 and x.shape[:2] == shape:
        return x.flatten(0, 1)
    if x.ndim == 2 and len(x) == shape[0] * shape[1]:
        return x
    raise SourceError(f"a place has activations of shape {tuple(x.shape)}, expected a row for each of {shape} tokens")


def median_norms(batches: Iterable[Batch], separator: int, columns: Iterable[T]) -> dict[T, float] | None:
    """Return the median norm of each site over rows that are neither at position 0 nor separators; None without any."""
    ordinary = RowKinds(separator, {}, ("first_position", "separator"))
    norms: dict[T, list[np.ndarray]] = {name: [] for name in columns}
    for batch in batches:
        mask = ordinary.of(batch.tokens, batch.norms) == KEPT
        for name, values in batch.norms.items():
            norms[name].append(values[mask])
    if not any(len(part) for parts in norms.values() for part in parts):
        return None
    return {name: float(np.median(np.concatenate(parts))) for name, parts in norms.items()}
