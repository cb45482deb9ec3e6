"""Find the tokens at which latents are active, in a store or in a text that a language model reads."""

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
import scipy.sparse
import torch
from tqdm.auto import tqdm

from sdlcore.data.arrays import Activations
from sdlcore.data.batches import StorePart, read_pair
from sdlcore.data.pairs import in_order, make_pair
from sdlcore.data.reading import ActivationStore
from sdlcore.extraction.config import Site
from sdlcore.extraction.forward import KEPT, RowKinds, activations
from sdlcore.extraction.hooks import Stack
from sdlcore.extraction.tokens import Tokens
from sdlcore.inside.features import evenly_spaced
from sdlcore.inside.hooks import require_width
from sdlcore.model.activation import refuse_signed
from sdlcore.model.coder import SparseCoder

ROWS_AT_ONCE = 1024
DECIDING = 10_000
"""Tokens of a text that decide which latents to show, if the user names no latents."""
WHERE = ("document", "position", "token")


class Rows(NamedTuple):
    """Some tokens, and the activations that a dictionary reads at them."""

    x_p: np.ndarray
    """B x n_p, float32."""
    where: dict[str, np.ndarray]
    """B values under each name of `WHERE`: the number of the token's document or -1, its index there, and its id."""


class Fired(NamedTuple):
    """The N tokens at which one latent is active, in order."""

    value: np.ndarray
    document: np.ndarray
    position: np.ndarray
    token: np.ndarray

    def at(self, entries: np.ndarray) -> "Fired":
        """Select some of the tokens, by index or by mask."""
        return Fired(*(column[entries] for column in self))


class Firings(NamedTuple):
    """The tokens at which each of several latents is active."""

    tokens: int
    """Number of tokens read, without those left out."""
    values: scipy.sparse.csc_array
    """Activations, T x n_q, of the T tokens that belong to a document. An entry takes 8 bytes, most of the memory if
    all latents of a dictionary are requested."""
    where: Mapping[str, np.ndarray]
    """T values under each name of `WHERE`."""

    def of(self, latent: int) -> Fired:
        """Return the tokens at which one latent is active, in the order of documents and positions."""
        span = slice(*self.values.indptr[latent : latent + 2])
        rows = self.values.indices[span]
        fired = Fired(self.values.data[span], *(self.where[name][rows] for name in WHERE))
        return fired.at(np.lexsort((fired.position, fired.document)))


def rows_of_store(store: ActivationStore, pair: str) -> Iterator[Rows]:
    """Yield the rows of a store, with the references `WHERE`, as inputs of a dictionary of this ``pair``."""
    for start in range(0, store.rows, ROWS_AT_ONCE):
        stop = start + ROWS_AT_ONCE
        x_p, _ = read_pair(store, pair, start, stop)
        yield Rows(x_p.astype(np.float32), {name: store.read(f"references/{name}", start, stop) for name in WHERE})


def rows_of_model(
    stack: Stack,
    sites: Mapping[str, Site],
    pair: str,
    contexts: Iterable[Tokens],
    kinds: RowKinds,
    contexts_per_batch: int,
) -> Generator[Rows, None, None]:
    """Run a model over contexts, and yield the inputs of a dictionary of this ``pair`` as extraction would store them.

    Close the generator, since its hooks stay in the model until it ends.

    Parameters
    ----------
    stack
        The model.
    sites
        Column -> site, as in a source.
    contexts
        Tokens for the model to read.
    kinds
        Kinds of rows to leave out.
    contexts_per_batch
        Number of contexts in one pass of the model.
    """
    for batch in activations(stack, sites, contexts, contexts_per_batch):
        mask = kinds.of(batch.tokens, batch.norms) == KEPT
        values = {name: x[mask] for name, x in batch.values.items()}
        x_p, _ = make_pair(pair, *in_order(values))
        yield Rows(x_p.astype(np.float32), {name: getattr(batch.tokens, name).ravel()[mask] for name in WHERE})


def encode_rows(coder: SparseCoder, x_p: np.ndarray) -> scipy.sparse.csr_array:
    """Return the latents of B samples (B x n_p) as a sparse matrix, B x n_q."""
    require_width(coder, x_p)
    with torch.inference_mode():
        return coder.encode_csr(torch.from_numpy(x_p).to(coder.W_enc.device))


def firings(coder: SparseCoder, rows: Iterable[Rows], latents: Sequence[int]) -> Firings:
    """Return the tokens at which latents are active. Tokens outside of documents are counted but not returned.

    Parameters
    ----------
    coder
        The dictionary, in evaluation mode.
    rows
        Tokens with activations.
    latents
        Numbers of the latents.

    Raises
    ------
    ValueError
        If latents are signed, since contexts are ranked by the largest activations.
    """
    refuse_signed(coder.sigma, "the ranking of contexts by a latent")
    n_q = coder.config.n_q
    unwanted = np.ones(n_q, dtype=bool)
    unwanted[list(latents)] = False
    tokens, parts = 0, [scipy.sparse.csr_array((0, n_q), dtype=np.float32)]
    places: dict[str, list[np.ndarray]] = {name: [np.empty(0, dtype=np.int64)] for name in WHERE}
    for x_p, where in rows:
        tokens += len(x_p)
        codes, in_document = encode_rows(coder, x_p), where["document"] >= 0
        codes.data[unwanted[codes.indices]] = 0
        codes.eliminate_zeros()
        parts.append(codes[in_document])
        for name, column in places.items():
            column.append(where[name][in_document])
    by_token = scipy.sparse.vstack(parts, format="csr")
    parts.clear()  # before sorting, since the parts take as much memory as the whole
    return Firings(tokens, by_token.tocsc(), {name: np.concatenate(column) for name, column in places.items()})


def codes_of_store(
    coder: SparseCoder, store: Activations | StorePart, progress: bool = False
) -> Iterator[scipy.sparse.csr_array]:
    """Yield the latents of a store's rows, `ROWS_AT_ONCE` at a time."""
    starts = range(0, store.rows, ROWS_AT_ONCE)
    for start in tqdm(starts, desc="rows", unit_scale=ROWS_AT_ONCE, disable=None if progress else True):
        x_p, _ = read_pair(store, coder.config.pair, start, start + ROWS_AT_ONCE)
        yield encode_rows(coder, x_p.astype(np.float32))


def latents_to_show(coder: SparseCoder, store: ActivationStore, number: int) -> list[int]:
    """Return ``number`` of the latents that fire on a store, evenly spaced when sorted by how often they fire."""
    fired = np.zeros(coder.config.n_q, dtype=np.int64)
    for codes in codes_of_store(coder, store):
        fired += np.bincount(codes.indices, minlength=len(fired))
    return _by_frequency(fired, number)


def choose_latents(coder: SparseCoder, rows: Iterable[Rows], number: int) -> tuple[list[int], Iterator[Rows]]:
    """Return latents that fire on the first rows (`DECIDING`), as `latents_to_show` does for a store; and all rows."""
    fired, tokens, first = np.zeros(coder.config.n_q, dtype=np.int64), 0, []
    rest = iter(rows)
    for batch in rest:
        first.append(batch)
        tokens += len(batch.x_p)
        fired += np.bincount(encode_rows(coder, batch.x_p).indices, minlength=len(fired))
        if tokens >= DECIDING:
            break
    return _by_frequency(fired, number), chain(first, rest)


def _by_frequency(fired: np.ndarray, number: int) -> list[int]:
    """Return ``number`` latents that fired, evenly spaced when sorted by how often (n_q) they did."""
    order = np.argsort(-fired, kind="stable")[: int((fired > 0).sum())]
    return evenly_spaced(order, number).tolist()
