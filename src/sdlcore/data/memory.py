"""Activations in memory, with the interface of an activation store."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import scipy.sparse

from sdlcore.data.layout import chunk_rows
from sdlcore.data.pairs import all_sites, site_column, site_columns
from sdlcore.storage.files import Unchanged

ROWS_AT_ONCE = 8192


class Activations(Protocol):
    """The interface that trainings, solvers and evaluations read from: an `ActivationStore`, or `Arrays`."""

    path: Path
    rows: int
    n_p: int
    n_r: int | None
    """Widths of sites 0 and 1."""

    @property
    def widths(self) -> tuple[int, ...]:
        """Widths of all sites."""

    @property
    def chunk_rows(self) -> int: ...

    def has(self, column: str) -> bool: ...

    def read(self, column: str, start: int = 0, stop: int | None = None) -> np.ndarray: ...

    def class_names(self) -> list[str] | None: ...

    def features(self) -> scipy.sparse.csr_array | None: ...


class Arrays:
    """Samples in arrays, with the interface of an `ActivationStore`.

    Parameters
    ----------
    input
        N x n_p, float16, float32 or float64. A memory-mapped array is read in blocks.
    target
        N x n_r: a second representation of the same samples.
    labels
        N class numbers, -1 for none.
    class_names
        Names of the classes.
    features
        N x n ground-truth coefficients.
    more
        N x width arrays: further representations of the same samples, from site 2 on.
    names
        What messages call the sites; None for x, target, site 2, and so on.

    Raises
    ------
    ValueError
        If a site is not a matrix of numbers that are finite in float32, or lengths differ.
    """

    def __init__(
        self,
        input: np.ndarray,
        target: np.ndarray | None = None,
        labels: np.ndarray | None = None,
        class_names: Sequence[str] | None = None,
        features: scipy.sparse.csr_array | None = None,
        more: Sequence[np.ndarray] = (),
        names: Sequence[str] | None = None,
    ) -> None:
        self.path = Path("x")
        self.rows: int = input.shape[0]
        sites = all_sites(input, target, more)
        names = names or ["x", "target", *(f"site {site}" for site in range(2, len(sites)))]
        self._columns: dict[str, np.ndarray] = {
            site_column(site): _matrix(names[site], values) for site, values in enumerate(sites)
        }
        self.widths: tuple[int, ...] = tuple(values.shape[1] for values in sites)
        self.n_p: int = self.widths[0]
        self.n_r: int | None = self.widths[1] if len(self.widths) > 1 else None
        if labels is not None:
            self._columns["labels"] = labels
        for name, values in zip((*names[: len(sites)], "labels"), self._columns.values(), strict=False):
            if len(values) != self.rows:
                raise ValueError(f"{name} has {len(values)} rows, but {names[0]} has {self.rows}")
        self._class_names, self._features = class_names, features
        self._files = Unchanged(*(str(x.filename) for x in sites if isinstance(x, np.memmap) and x.mode == "r"))
        self.chunk_rows = chunk_rows(4 * max(self.widths))

    def has(self, column: str) -> bool:
        """Return whether the column exists."""
        return column in self._columns

    def read(self, column: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Return rows ``start:stop`` of ``input``, ``target``, ``site2``, ..., or ``labels``.

        Numbers keep their precision, but float64 is converted to float32. ValueError if a memory-mapped file was
        changed since it was opened.
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


def digest_of_arrays(*arrays: np.ndarray) -> str:
    """Return the hex SHA-256 of arrays: their types, shapes and numbers."""
    total = hashlib.sha256()
    for values in arrays:
        total.update(f"{values.dtype} {values.shape}".encode())
        for start in range(0, len(values), ROWS_AT_ONCE):
            total.update(np.ascontiguousarray(values[start : start + ROWS_AT_ONCE]).data)
    return total.hexdigest()


def check_floats(name: str, values: np.ndarray) -> None:
    """Check that an array is float16, float32 or float64; ValueError with the array's name if not."""
    if values.dtype not in (np.float16, np.float32, np.float64):
        # no advice for texts, dates and complex numbers, since astype would silently change them
        how = f"; convert it by {name}.astype('float32')" if values.dtype.kind in "iubfO" else ""
        raise ValueError(
            f"{name} is {values.dtype} of shape {values.shape}, expected floating-point numbers (float16, float32 or "
            f"float64){how}"
        )


def _matrix(name: str, values: np.ndarray) -> np.ndarray:
    check_floats(name, values)
    if 0 in values.shape:
        raise ValueError(f"{name} is empty (shape {values.shape}), expected one sample and one dimension or more")
    if values.ndim != 2:
        problem, how = f"{name} is {values.dtype} of shape {values.shape}", ""
        if values.ndim > 2:
            how = f"; {name}.reshape(-1, {values.shape[-1]}) makes every position a sample"
        raise ValueError(f"{problem}, expected a matrix of floating-point numbers with a row per sample{how}")
    for start in range(0, len(values), ROWS_AT_ONCE):
        with np.errstate(over="ignore"):  # numbers too large for float32 become infinite, and are refused below
            finite = np.isfinite(values[start : start + ROWS_AT_ONCE].astype(np.float32, copy=False)).all(axis=1)
        if not finite.all():
            row = start + int(np.argmin(finite))
            what = "more than float32 can hold" if np.isfinite(values[row]).all() else "NaN or infinity"
            raise ValueError(f"{name} contains {what} in row {row}; leave such rows out")
    return values
