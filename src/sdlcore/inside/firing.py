"""Find the tokens at which latents are active, in a store or in a text that a language model reads."""

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
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
from sdlcore.extraction.engine import read_contexts
from sdlcore.extraction.hooks import Stack
from sdlcore.extraction.tokens import KEPT, RowKinds, Tokens
from sdlcore.inside.features import evenly_spaced
from sdlcore.inside.hooks import require_width
from sdlcore.inside.reader import CONTEXTS_AT_ONCE
from sdlcore.model.activation import refuse_signed
from sdlcore.model.coder import SparseCoder

ROWS_AT_ONCE = 1024
WHERE = ("document", "position", "token")
"""References of a token: the number of its document, -1 outside of documents; its index there; and its id."""
Codes = tuple[scipy.sparse.csr_array, np.ndarray]
"""Latents of B tokens (B x n_q), and their references (B x 3, the columns `WHERE`)."""


class Firings(NamedTuple):
    """The T tokens of documents, by document and position, and the latents that are active at them."""

    tokens: int
    """Number of tokens read, also outside of documents, without those left out."""
    values: scipy.sparse.csc_array
    """Activations, T x n_q. An entry takes 8 bytes, most of the memory if all latents of a dictionary are requested."""
    where: np.ndarray
    """References, T x 3: the columns `WHERE`."""

    def of(self, latent: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the N activations of a latent above zero, and the references of their tokens (N x 3)."""
        span = slice(*self.values.indptr[latent : latent + 2])
        return self.values.data[span], self.where[self.values.indices[span]]


def encode_rows(coder: SparseCoder, x_p: np.ndarray) -> scipy.sparse.csr_array:
    """Return the latents of B samples (B x n_p) as a sparse matrix, B x n_q."""
    require_width(coder, x_p)
    with torch.inference_mode():
        return coder.encode_csr(torch.from_numpy(x_p.astype(np.float32)).to(coder.W_enc.device))


def codes_of_store(
    coder: SparseCoder, store: Activations | StorePart, progress: bool = False
) -> Iterator[scipy.sparse.csr_array]:
    """Yield the latents of a store's rows, `ROWS_AT_ONCE` at a time."""
    starts = range(0, store.rows, ROWS_AT_ONCE)
    for start in tqdm(starts, desc="rows", unit_scale=ROWS_AT_ONCE, disable=None if progress else True):
        yield encode_rows(coder, read_pair(store, coder.config.pair, start, start + ROWS_AT_ONCE)[0])


def tokens_of_store(coder: SparseCoder, store: ActivationStore) -> Iterator[Codes]:
    """Yield the latents of a language model's store with the references of its rows."""
    where = np.stack([store.read(f"references/{name}") for name in WHERE], axis=1)
    for number, codes in enumerate(codes_of_store(coder, store)):
        yield codes, where[number * ROWS_AT_ONCE :][:ROWS_AT_ONCE]


def tokens_of_model(
    coder: SparseCoder,
    stack: Stack,
    sites: Mapping[str, Site],
    contexts: Iterable[Tokens],
    kinds: RowKinds,
) -> Generator[Codes, None, None]:
    """Run a model over contexts, and yield the latents of the rows that extraction would store.

    Close the generator, since its hooks stay in the model until it ends.
    """
    for batch in read_contexts(stack.model, stack.points(sites), contexts, CONTEXTS_AT_ONCE):
        mask = kinds.of(batch.tokens, batch.norms) == KEPT
        x_p, _ = make_pair(coder.config.pair, *in_order({name: x[mask] for name, x in batch.values.items()}))
        yield encode_rows(coder, x_p), np.stack([getattr(batch.tokens, name).ravel()[mask] for name in WHERE], axis=1)


def firings(coder: SparseCoder, batches: Iterable[Codes], latents: Sequence[int]) -> Firings:
    """Collect the tokens at which ``latents`` are active. Tokens outside of documents only count.

    ValueError if latents are signed, since contexts are ranked by the largest activations.
    """
    refuse_signed(coder.sigma, "the ranking of contexts by a latent")
    unwanted = np.ones(coder.config.n_q, dtype=bool)
    unwanted[list(latents)] = False
    tokens, parts = 0, [scipy.sparse.csr_array((0, len(unwanted)), dtype=np.float32)]
    references = [np.empty((0, len(WHERE)), dtype=np.int64)]
    for codes, where in batches:
        tokens += len(where)
        in_document = where[:, 0] >= 0
        codes.data[unwanted[codes.indices]] = 0
        codes.eliminate_zeros()
        parts.append(codes[in_document])
        references.append(where[in_document])
    values, where = scipy.sparse.vstack(parts, format="csr"), np.concatenate(references)
    parts.clear()  # before sorting, since the parts take as much memory as the whole
    order = np.lexsort((where[:, 1], where[:, 0]))
    return Firings(tokens, values[order].tocsc(), where[order])


def latents_to_show(codes: Iterable[scipy.sparse.csr_array], number: int) -> list[int]:
    """Return ``number`` latents that are active in ``codes``, evenly spaced from the most to the least frequent."""
    fired = sum(np.bincount(part.indices, minlength=part.shape[1]) for part in codes)
    order = np.argsort(-fired, kind="stable")
    return evenly_spaced(order[: np.count_nonzero(fired)], number).tolist()
