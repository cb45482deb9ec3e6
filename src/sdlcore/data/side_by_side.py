"""Several stores side by side: the same samples in several models or at several layers, as the sites of one source."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import scipy.sparse

from sdlcore.data.pairs import is_site, site_column, site_columns
from sdlcore.data.reading import ActivationStore, content_digest
from sdlcore.errors import StoreError

ORIGIN = ("references/document", "references/position", "references/token")
"""Columns that locate a row of a language model's activations in the text."""


class SideBySide:
    """Stores with equal rows, with the interface of one store whose sites are the sites of all.

    Parameters
    ----------
    stores
        Two or more opened stores. The first one's labels and coefficients count.

    Raises
    ------
    StoreError
        If the stores differ in their number of rows, or if their rows are different tokens.
    """

    def __init__(self, stores: Sequence[ActivationStore]) -> None:
        first, *others = self.stores = tuple(stores)
        for other in others:
            _check_rows(first, other)
        self.path, self.rows = first.path, first.rows
        self.widths: tuple[int, ...] = tuple(width for store in stores for width in store.widths)
        self.n_p: int = self.widths[0]
        self.n_r: int | None = self.widths[1] if len(self.widths) > 1 else None
        places = [(store, column) for store in stores for column in site_columns(len(store.widths))]
        self._places = {site_column(site): place for site, place in enumerate(places)}

    @property
    def chunk_rows(self) -> int:
        """Number of rows in a chunk of the store with the smallest chunks."""
        return min(store.chunk_rows for store in self.stores)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files."""
        return tuple(store.path for store in self.stores)

    def has(self, column: str) -> bool:
        """Return whether the column exists."""
        return column in self._places if is_site(column) else self.stores[0].has(column)

    def read(self, column: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Return rows ``start:stop`` of a site, or of another column of the first store."""
        store, stored_column = self._places.get(column, (self.stores[0], column))
        return store.read(stored_column, start, stop)

    def class_names(self) -> list[str] | None:
        """Return the names of the first store's classes, or None."""
        return self.stores[0].class_names()

    def features(self) -> scipy.sparse.csr_array | None:
        """Return the ground-truth coefficients in the first store (N x n), or None."""
        return self.stores[0].features()

    def digest(self) -> str:
        """Return a hex SHA-256 of the content of all stores."""
        return hashlib.sha256("\n".join(map(content_digest, self.paths)).encode()).hexdigest()


def _check_rows(first: ActivationStore, other: ActivationStore) -> None:
    if other.rows != first.rows:
        raise StoreError(f"{other.path}: has {other.rows} rows, but {first.path} has {first.rows}; expected equal rows")
    for column in ORIGIN:
        if not (first.has(column) and other.has(column)):
            continue
        differ = first.read(column) != other.read(column)
        if differ.any():
            raise StoreError(
                f"{other.path}: row {int(np.argmax(differ))} is not the token that it is in {first.path} ({column} "
                "differs). Extract both from the same text with one tokenizer, and with drop=('first_position', "
                "'separator'), since outliers differ between models"
            )
