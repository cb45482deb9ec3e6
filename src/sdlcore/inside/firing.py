"""Which latents are active at which tokens, of a store or of a language model that runs over a text."""

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from sdlcore.data.batches import read_pair
from sdlcore.data.pairs import make_pair
from sdlcore.data.reading import ActivationStore
from sdlcore.model.sparse_coder import SparseCoder
from sdlcore.sources.language.forward import KEPT, RowKinds, activations
from sdlcore.sources.language.settings import Site
from sdlcore.sources.language.tokens import Tokens

ROWS_AT_ONCE = 1024
WHERE = ("document", "position", "token")


class Rows(NamedTuple):
    """Some tokens, and the activations that a dictionary reads there."""

    x_p: np.ndarray
    """B x n_p, float32."""
    where: dict[str, np.ndarray]
    """By the names of `WHERE`, B each: number of the token's document, or -1; its index in it; its id."""


class Active(NamedTuple):
    """Positive latents: one entry each."""

    row: np.ndarray
    latent: np.ndarray
    value: np.ndarray


class Firings(NamedTuple):
    """Every token at which one of some latents is active: N entries, by latent."""

    tokens: int
    """Tokens that were looked at."""
    latent: np.ndarray
    value: np.ndarray
    document: np.ndarray
    position: np.ndarray
    token: np.ndarray

    def of(self, latent: int) -> "Firings":
        """Return those of one latent."""
        start, stop = np.searchsorted(self.latent, [latent, latent + 1])
        return self.at(slice(start, stop))

    def at(self, entries: slice | np.ndarray) -> "Firings":
        """Return some of them, by a slice, places or a mask."""
        return Firings(self.tokens, *(column[entries] for column in self[1:]))


def rows_of_store(store: ActivationStore, pair: str) -> Iterator[Rows]:
    """Yield the rows of a store with the references `WHERE`, as a dictionary of ``pair`` reads them."""
    for start in range(0, store.rows, ROWS_AT_ONCE):
        stop = start + ROWS_AT_ONCE
        x_p, _ = read_pair(store, pair, start, stop)
        yield Rows(x_p.astype(np.float32), {name: store.read(f"references/{name}", start, stop) for name in WHERE})


def rows_of_model(
    stack: Any,
    sites: Mapping[str, Site],
    pair: str,
    contexts: Iterable[Tokens],
    kinds: RowKinds,
    contexts_per_batch: int,
) -> Generator[Rows, None, None]:
    """Yield what a dictionary of ``pair`` reads while a model runs over contexts, as extraction would store it.

    Close this: hooks stay in the model until its end.

    Parameters
    ----------
    stack
        The model's blocks.
    sites
        By column, as a source has them.
    contexts
        Tokens that the model is shown.
    kinds
        Which rows are left out.
    contexts_per_batch
        Contexts that run at once.
    """
    for batch in activations(stack, sites, contexts, contexts_per_batch):
        kept = kinds.of(batch.tokens, batch.norms) == KEPT
        values = {name: x[kept] for name, x in batch.values.items()}
        x_p, _ = make_pair(pair, values["input"], values.get("target"))
        yield Rows(x_p.astype(np.float32), {name: getattr(batch.tokens, name).ravel()[kept] for name in WHERE})


def active(coder: SparseCoder, x_p: np.ndarray) -> Active:
    """Return the positive latents of B samples (B x n_p)."""
    with torch.inference_mode():
        out = coder(torch.from_numpy(x_p).to(coder.W_enc.device))
    on = out.values > 0
    parts = (out.support.rows[on], out.support.columns[on], out.values[on])
    return Active(*(part.cpu().numpy() for part in parts))


def firings(coder: SparseCoder, rows: Iterable[Rows], latents: Sequence[int]) -> Firings:
    """Return where latents are active. Tokens that belong to no document count, but are passed over.

    Parameters
    ----------
    coder
        In evaluation mode.
    rows
        Tokens.
    latents
        Which.
    """
    wanted = np.zeros(coder.config.n_q, dtype=bool)
    wanted[list(latents)] = True
    tokens, parts = 0, []
    for x_p, where in rows:
        tokens += len(x_p)
        row, latent, value = active(coder, x_p)
        its = wanted[latent] & (where["document"][row] >= 0)
        parts.append((latent[its], value[its], *(where[name][row[its]] for name in WHERE)))
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)] or [np.empty(0, dtype=int)] * 5
    by_latent = np.argsort(columns[0], kind="stable")
    return Firings(tokens, *columns).at(by_latent)


def latents_to_show(coder: SparseCoder, store: ActivationStore, number: int) -> list[int]:
    """Return ``number`` latents, evenly spaced over those that ever fire on a store, by how often they do."""
    fired = np.zeros(coder.config.n_q, dtype=np.int64)
    for x_p, _ in rows_of_store(store, coder.config.pair):
        fired += np.bincount(active(coder, x_p).latent, minlength=len(fired))
    order = np.argsort(-fired, kind="stable")[: int((fired > 0).sum())]
    places = np.linspace(0, len(order) - 1, min(number, len(order))).round().astype(int)
    return [int(latent) for latent in order[places]]
