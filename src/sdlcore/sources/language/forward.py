"""Run a language model over contexts, and tell which rows to keep."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sdlcore.sources.language.settings import Site
from sdlcore.sources.language.sites import watch, without_dropout
from sdlcore.sources.language.tokens import Tokens

KINDS = ("kept", "first_position", "separator", "outlier")
KEPT, FIRST, SEPARATED, OUTLIER = range(len(KINDS))
# tokens whose median norm stands for the source's: enough for a steady median, few enough to run twice
MEDIAN_ROWS = 2048


class Batch(NamedTuple):
    """What one pass over B contexts of T tokens gives."""

    tokens: Tokens
    """B x T."""
    values: dict[str, np.ndarray]
    """BT x D activations of each site, float16."""
    norms: dict[str, np.ndarray]
    """BT norms of each site's activations before they were rounded."""


class RowKinds(NamedTuple):
    """Which rows are left out, and why."""

    separator: int
    """Id of the separator token."""
    largest_norm: Mapping[str, float]
    """Norm of a site's activations above which a row is an outlier."""
    drop: tuple[str, ...]
    """Kinds that are left out."""

    def of(self, tokens: Tokens, norms: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the kind (BT, counted as in `KINDS`) of every row: the first kind left out that it is of, or kept."""
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
        return kind_N


def stack_batches(contexts: Iterable[Tokens], contexts_per_batch: int) -> Iterator[Tokens]:
    """Yield contexts (T) in batches (B x T)."""
    coming = iter(contexts)
    while batch := list(islice(coming, contexts_per_batch)):
        yield Tokens(*(np.stack(arrays) for arrays in zip(*batch, strict=True)))


def activations(
    stack: Any, sites: Mapping[str, Site], contexts: Iterable[Tokens], contexts_per_batch: int
) -> Generator[Batch, None, None]:
    """Yield what passes ``sites`` of a stack of blocks, batch by batch of contexts.

    Whatever mode the model is in, it runs in evaluation mode: one that was made in memory begins in training mode.
    Close this: hooks stay in the model until its end.
    """
    device = next(stack.parameters()).device
    # a GPU goes on with the next batch while the last one is written; to a CPU it would only be memory
    ahead = 1 if device.type == "cuda" else 0
    flights: deque[_Flight] = deque()
    seen: dict[str, Tensor] = {}
    with ExitStack() as watches:
        for name, site in sites.items():
            watches.callback(watch(stack, site, _keep(seen, name)).remove)
        for tokens in stack_batches(contexts, contexts_per_batch):
            with torch.inference_mode(), without_dropout(stack):
                stack(torch.from_numpy(tokens.token).long().to(device), use_cache=False)
                flights.append(_Flight(tokens, seen))
            if len(flights) > ahead:
                yield flights.popleft().landed()
        while flights:
            yield flights.popleft().landed()


def _keep(seen: dict[str, Tensor], name: str) -> Callable[[Tensor], None]:
    def see(activations_BTD: Tensor) -> None:
        seen[name] = activations_BTD

    return see


def median_norms(batches: Iterable[Batch], separator: int, columns: Iterable[str]) -> dict[str, float] | None:
    """Return the median norm of each site over rows that are neither at position 0 nor separators; None without any."""
    ordinary = RowKinds(separator, {}, ("first_position", "separator"))
    norms: dict[str, list[np.ndarray]] = {name: [] for name in columns}
    for batch in batches:
        kept = ordinary.of(batch.tokens, batch.norms) == KEPT
        for name, values in batch.norms.items():
            norms[name].append(values[kept])
    if not any(len(part) for part in norms["input"]):
        return None
    return {name: float(np.median(np.concatenate(parts))) for name, parts in norms.items()}


class _Flight:
    """A batch on its way from the device."""

    def __init__(self, tokens: Tokens, seen: Mapping[str, Tensor]) -> None:
        self._tokens = tokens
        rows = {name: values.flatten(0, 1) for name, values in seen.items()}
        norms = {name: torch.linalg.vector_norm(x, dim=1, dtype=torch.float32) for name, x in rows.items()}
        # from a GPU into pinned memory, so that this returns at once
        self._values = {name: x.to(torch.float16).to("cpu", non_blocking=True) for name, x in rows.items()}
        self._norms = {name: norm.to("cpu", non_blocking=True) for name, norm in norms.items()}
        self._arrival = torch.cuda.Event() if next(iter(rows.values())).is_cuda else None
        if self._arrival is not None:
            self._arrival.record()

    def landed(self) -> Batch:
        """Return the batch when it is there."""
        if self._arrival is not None:
            self._arrival.synchronize()
        values = {name: x.numpy() for name, x in self._values.items()}
        return Batch(self._tokens, values, {name: norm.numpy() for name, norm in self._norms.items()})
