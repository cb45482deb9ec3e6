"""Activations in memory or in several stores side by side, with the interface of an activation store."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import scipy.sparse

from sdlcore.data.pairs import is_site, site_columns
from sdlcore.data.reading import ActivationStore, chunk_rows
from sdlcore.errors import StoreError
from sdlcore.storage.files import Unchanged

ROWS_AT_ONCE = 8192
ORIGIN = ("references/document", "references/position", "references/token")
"""Columns that locate a row of a language model's activations in the text."""


class Readable(Protocol):
    """Rows that can be read by index, from a store, a part of a store, or memory."""

    path: Path
    rows: int
    chunk_rows: int
    """Number of rows that are fast to read together."""
    widths: tuple[int, ...]
    """Widths of the sites."""

    def read(self, column: str, start: int = 0, stop: int | None = None) -> np.ndarray: ...


class Activations(Readable, Protocol):
    """What trainings, solvers and evaluations read from: an `ActivationStore`, `Arrays` or `SideBySide`."""

    def has(self, column: str) -> bool: ...

    def class_names(self) -> list[str] | None: ...

    def features(self) -> scipy.sparse.csr_array | None: ...

    def digest(self) -> str: ...


class Arrays:
    """Samples in arrays, with the interface of an `ActivationStore`.

    Parameters
    ----------
    sites
        N x width arrays, float16, float32 or float64: the input, the target and further representations of the same
        samples. A memory-mapped array is read in blocks.
    labels
        N class numbers, -1 for none.
    class_names
        Names of the classes.
    features
        N x n ground-truth coefficients.
    names
        What messages call the sites; None for x, target, site 2, and so on.

    Raises
    ------
    ValueError
        If a site is not a matrix of numbers that are finite in float32, or lengths differ.
    """

    def __init__(
        self,
        *sites: np.ndarray,
        labels: np.ndarray | None = None,
        class_names: Sequence[str] | None = None,
        features: scipy.sparse.csr_array | None = None,
        names: Sequence[str] | None = None,
    ) -> None:
        names = names or ["x", "target", *(f"site {site}" for site in range(2, len(sites)))]
        for name, values in zip(names, sites, strict=False):
            _check_matrix(name, values)
        self.path, self.rows = Path("x"), len(sites[0])
        self.widths: tuple[int, ...] = tuple(values.shape[1] for values in sites)
        self.chunk_rows = chunk_rows(4 * max(self.widths))
        self._columns = dict(zip(site_columns(len(sites)), sites, strict=True))
        if labels is not None:
            self._columns["labels"] = labels
        for name, values in zip((*names[: len(sites)], "labels"), self._columns.values(), strict=False):
            if len(values) != self.rows:
                raise ValueError(f"{name} has {len(values)} rows, but {names[0]} has {self.rows}")
        self._class_names, self._features = class_names, features
        self._files = Unchanged(*(str(x.filename) for x in sites if isinstance(x, np.memmap) and x.mode == "r"))

    def has(self, column: str) -> bool:
        """Return whether the column exists."""
        return column in self._columns

    def read(self, column: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Return rows ``start:stop`` of a column: ``input``, ``target``, the third site ``site2``, ..., or ``labels``.

        float64 is converted to float32; other types are kept. KeyError for a column that is not there. ValueError if a
        memory-mapped file was changed since it was opened.
        """
        rows = self._columns[column][start:stop]
        with self._files:
            # copies arrays that torch does not accept: reversed ones, and read-only ones from files
            return np.require(rows, np.float32 if rows.dtype == np.float64 else None, ["C", "W", "E"])

    def class_names(self) -> list[str] | None:
        """Return the names of the classes, or None."""
        return None if self._class_names is None else list(self._class_names)

    def features(self) -> scipy.sparse.csr_array | None:
        """Return the ground-truth coefficients (N x n), or None."""
        return self._features

    def digest(self) -> str:
        """Return the hex SHA-256 of the sites."""
        with self._files:
            return digest_of_arrays(*(self._columns[name] for name in site_columns(len(self.widths))))


class SideBySide:
    """Stores with equal rows, with the interface of one store whose sites are the sites of all: the same samples in
    several models or at several layers.

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
        first, *others = self._stores = tuple(stores)
        for other in others:
            _check_rows(first, other)
        self.path, self.rows = first.path, first.rows
        self.chunk_rows = min(store.chunk_rows for store in stores)
        self.widths: tuple[int, ...] = tuple(width for store in stores for width in store.widths)
        places = [(store, column) for store in stores for column in site_columns(len(store.widths))]
        self._places = dict(zip(site_columns(len(places)), places, strict=True))
        self.class_names, self.features = first.class_names, first.features

    def has(self, column: str) -> bool:
        """Return whether the column exists."""
        return column in self._places if is_site(column) else self._stores[0].has(column)

    def read(self, column: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Return rows ``start:stop`` of a site, or of another column of the first store."""
        store, stored_column = self._places.get(column, (self._stores[0], column))
        return store.read(stored_column, start, stop)

    def digest(self) -> str:
        """Return a hex SHA-256 of the content of all stores."""
        return hashlib.sha256("\n".join(store.digest() for store in self._stores).encode()).hexdigest()


def _check_rows(first: ActivationStore, other: ActivationStore) -> None:
    if other.rows != first.rows:
        raise StoreError(f"{other.path}: has {other.rows} rows, but {first.path} has {first.rows}; expected equal rows")
    for column in ORIGIN:
        if first.has(column) and other.has(column) and (differ := first.read(column) != other.read(column)).any():
            raise StoreError(
                f"{other.path}: row {int(np.argmax(differ))} is not the token that it is in {first.path} ({column} "
                "differs). Extract both from the same text with one tokenizer, and with drop=('first_position', "
                "'separator'), since outliers differ between models"
            )


def digest_of_arrays(*arrays: np.ndarray) -> str:
    """Return the hex SHA-256 of arrays: their types, shapes and numbers."""
    total = hashlib.sha256()
    for values in arrays:
        total.update(f"{values.dtype} {values.shape}".encode())
        for start in range(0, len(values), ROWS_AT_ONCE):
            total.update(np.ascontiguousarray(values[start : start + ROWS_AT_ONCE]).data)
    return total.hexdigest()


def _check_matrix(name: str, values: np.ndarray) -> None:
    if values.ndim != 2 or 0 in values.shape[1:] or values.dtype not in (np.float16, np.float32, np.float64):
        how = f"; {name}.reshape(-1, {values.shape[-1]}) makes every position a sample" if values.ndim > 2 else ""
        raise ValueError(
            f"{name} is {values.dtype} of shape {values.shape}, expected a matrix of floating-point numbers (float16, "
            f"float32 or float64) with a row per sample{how}"
        )
    for start in range(0, len(values), ROWS_AT_ONCE):
        with np.errstate(over="ignore"):  # numbers too large for float32 become infinite, and are refused below
            finite = np.isfinite(values[start : start + ROWS_AT_ONCE].astype(np.float32, copy=False)).all(axis=1)
        if not finite.all():
            row = start + int(np.argmin(finite))
            what = "numbers too large for float32" if np.isfinite(values[row]).all() else "NaN or infinity"
            raise ValueError(f"{name} contains {what} in row {row}; leave such rows out")
