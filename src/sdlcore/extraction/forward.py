"""Run a language model over contexts, and choose the rows to keep."""

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sdlcore.extraction.config import Site
from sdlcore.extraction.hooks import Stack, Watch
from sdlcore.extraction.tokens import Tokens

KINDS = ("kept", "first_position", "separator", "outlier")
KEPT, FIRST, SEPARATED, OUTLIER = range(len(KINDS))
# tokens that the median norm is measured on: enough for a steady median, few enough to run twice
MEDIAN_ROWS = 2048


class Batch(NamedTuple):
    """The activations from one pass over B contexts of T tokens."""

    tokens: Tokens
    """B x T."""
    values: dict[str, np.ndarray]
    """BT x D activations of each site, float16."""
    norms: dict[str, np.ndarray]
    """BT norms of each site's activations, before rounding to float16."""


class RowKinds(NamedTuple):
    """Kinds of rows to leave out."""

    separator: int
    """Id of the separator token."""
    largest_norm: Mapping[str, float]
    """Norm of a site's activations above which a row is an outlier."""
    drop: tuple[str, ...]
    """Kinds of rows to leave out."""

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
        return kind_N


def stack_batches(contexts: Iterable[Tokens], contexts_per_batch: int) -> Iterator[Tokens]:
    """Group contexts (T) into batches (B x T)."""
    coming = iter(contexts)
    while batch := list(islice(coming, contexts_per_batch)):
        yield Tokens(*(np.stack(arrays) for arrays in zip(*batch, strict=True)))


def activations(
    stack: Stack, sites: Mapping[str, Site], contexts: Iterable[Tokens], contexts_per_batch: int
) -> Generator[Batch, None, None]:
    """Yield the activations at ``sites`` for each batch of contexts.

    The model runs in evaluation mode, also if it was in training mode, as a model made in memory is. Close the
    generator, since its hooks stay in the model until it ends.
    """
    # a GPU computes the next batch while the previous batch is written; on a CPU that would only cost memory
    ahead = 1 if stack.device.type == "cuda" else 0
    flights: deque[Flight] = deque()
    with Passes(stack, sites) as passes:
        for tokens in stack_batches(contexts, contexts_per_batch):
            flights.append(passes.start(tokens))
            if len(flights) > ahead:
                yield flights.popleft().landed()
        while flights:
            yield flights.popleft().landed()


class Passes:
    """Run a model over batches of contexts, up to the deepest of several sites. Use it in a ``with`` statement."""

    _flight: "Flight"

    def __init__(self, stack: Stack, sites: Mapping[str, Site]) -> None:
        self._stack = stack
        self._watch = Watch(stack, sites, lambda name, x_BTD: self._flight.take(name, x_BTD))

    def start(self, tokens: Tokens) -> "Flight":
        """Run the model over contexts (B x T). The returned batch may not have arrived from the device yet."""
        self._flight = Flight(tokens)
        self._watch.run(self._stack.ids(tokens.token))
        self._flight.depart()
        return self._flight

    def __enter__(self) -> "Passes":
        return self

    def __exit__(self, *_: object) -> None:
        self._watch.close()


def median_norms(batches: Iterable[Batch], separator: int, columns: Iterable[str]) -> dict[str, float] | None:
    """Return the median norm of each site over rows that are neither at position 0 nor separators; None without any."""
    ordinary = RowKinds(separator, {}, ("first_position", "separator"))
    norms: dict[str, list[np.ndarray]] = {name: [] for name in columns}
    for batch in batches:
        mask = ordinary.of(batch.tokens, batch.norms) == KEPT
        for name, values in batch.norms.items():
            norms[name].append(values[mask])
    if not any(len(part) for parts in norms.values() for part in parts):
        return None
    return {name: float(np.median(np.concatenate(parts))) for name, parts in norms.items()}


def norms_of(x: Tensor) -> Tensor:
    """Return the norms of rows, in float32. Torch computes norms of float64 in no lower precision."""
    return torch.linalg.vector_norm(x, dim=-1, dtype=torch.promote_types(x.dtype, torch.float32)).float()


class Flight:
    """A batch that is being copied from the device."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._values: dict[str, Tensor] = {}
        self._norms: dict[str, Tensor] = {}
        self._arrival: torch.cuda.Event | None = None

    def take(self, name: str, x_BTD: Tensor) -> None:
        """Copy the activations at a site. After this call, the model may change the activations in place."""
        x_ND = x_BTD.flatten(0, 1)
        norm_N = norms_of(x_ND)
        # from a GPU into pinned memory, so that this returns at once
        self._values[name] = x_ND.to(torch.float16, copy=True).to("cpu", non_blocking=True)
        self._norms[name] = norm_N.to("cpu", non_blocking=True)
        if x_ND.is_cuda:
            self._arrival = torch.cuda.Event()

    def depart(self) -> None:
        """Mark the end of the pass."""
        if self._arrival is not None:
            self._arrival.record()

    def landed(self) -> Batch:
        """Wait for the batch and return it."""
        if self._arrival is not None:
            self._arrival.synchronize()
        values = {name: x.numpy() for name, x in self._values.items()}
        return Batch(self._tokens, values, {name: norm.numpy() for name, norm in self._norms.items()})
