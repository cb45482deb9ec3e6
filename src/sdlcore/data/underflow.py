"""Detect activations that become zero in the precision of a store.

The smallest positive float16 is 6e-8. Single numbers that become zero are harmless and only counted. A sample or a
dimension that is nonzero in the data but all zero in the store raises an error: otherwise readers of the store could
not notice the loss.
"""

import logging
from pathlib import Path
from typing import Any

import numpy as np

from sdlcore.errors import StoreError
from sdlcore.settings import Json

log = logging.getLogger(__name__)

LEAST_SHARE = 1e-6
"""Smallest share of lost numbers that causes a warning. A smaller share occurs by chance in any activations."""


class UnderflowError(StoreError):
    """A sample or a dimension becomes all zero in a store's precision.

    Attributes
    ----------
    column, problem
        The store's column and a description of the loss, for messages that name the origin of the numbers.
    """

    def __init__(self, path: Path, column: str, problem: str) -> None:
        super().__init__(f"{path}: {column} {problem}")
        self.column, self.problem = column, problem


def vanishing_row(values: np.ndarray, stored: np.ndarray) -> int | None:
    """Return the index of the first of B rows that is nonzero in the data but all zero in the store, or None."""
    lost = ~(stored != 0).any(axis=1)
    lost[lost] = (values[lost] != 0).any(axis=1)
    return int(np.argmax(lost)) if lost.any() else None


def described(row: int, values: np.ndarray, dtype: str) -> str:
    """Describe a row that becomes zero, for the end of a sentence."""
    largest = float(np.abs(values.astype(np.float64)).max())
    return f"row {row} has a largest magnitude of {largest:.3g}, which is zero in {dtype}; {remedy(dtype)}"


def remedy(dtype: str) -> str:
    """Return the remedy for numbers that are too small for ``dtype``."""
    return "multiply it by a constant" if dtype == "float32" else "set dtype float32, or multiply it by a constant"


class Underflow:
    """Counts of numbers in one column of activations that become zero in the store, over all blocks."""

    def __init__(self) -> None:
        self._numbers = self._lost = 0
        # dimensions that are nonzero in the data, and in the store
        self._in_data = self._in_store = np.zeros(0, dtype=bool)

    def update(self, values: np.ndarray, stored: np.ndarray) -> None:
        """Count a block: B x dimension numbers, and the same numbers as they would be read from the store."""
        is_nonzero, stays_nonzero = values != 0, stored != 0
        if not self._in_data.size:
            self._in_data = self._in_store = np.zeros(values.shape[1], dtype=bool)
        self._in_data, self._in_store = (
            self._in_data | is_nonzero.any(axis=0),
            self._in_store | stays_nonzero.any(axis=0),
        )
        self._numbers += int(is_nonzero.sum())
        self._lost += int((is_nonzero & ~stays_nonzero).sum())

    def check(self, path: Path, column: str, dtype: str) -> None:
        """Warn if more than `LEAST_SHARE` of the numbers were lost; UnderflowError if a dimension was lost."""
        lost = np.flatnonzero(self._in_data & ~self._in_store)
        if len(lost):
            more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
            problem = f"dimension {lost[0]}{more}: nonzero, but too small for {dtype} in every row; {remedy(dtype)}"
            raise UnderflowError(path, column, problem)
        if self._lost > LEAST_SHARE * self._numbers:
            share = 100 * self._lost / self._numbers
            lost_share = "%s: %.2g %% of the nonzero numbers in %s are too small for %s and become zero"
            log.warning(lost_share, path, share, column, dtype)

    def to_json(self) -> list[Json]:
        """Return the counts as JSON; dimensions are bit masks in hexadecimal."""
        bits = [np.packbits(values).tobytes().hex() for values in (self._in_data, self._in_store)]
        return [self._in_data.size, self._numbers, self._lost, *bits]

    @classmethod
    def from_json(cls, saved: list[Any]) -> "Underflow":
        """Restore the counts that `to_json` returned."""
        underflow = cls()
        width, underflow._numbers, underflow._lost, *bits = saved
        underflow._in_data, underflow._in_store = (
            np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8), count=width).astype(bool) for text in bits
        )
        return underflow
