"""Find activations that become zero in the precision of a store.

float16 ends at 6e-8. A few zeros more do no harm and are counted; a sample, or a dimension, that is all zero in the
store and is not in the data is lost, and nothing after the store could know.
"""

import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sdlcore.errors import StoreError

log = logging.getLogger(__name__)

LEAST_SHARE = 1e-6
"""Share of numbers from which on a warning is worth reading: less comes about by chance in any activations."""


class UnderflowError(StoreError):
    """A sample or a dimension vanishes in a store's precision.

    Attributes
    ----------
    column, problem
        The store's column, and what is lost, for a sentence that names where the numbers are from.
    """

    def __init__(self, path: Path, column: str, problem: str) -> None:
        super().__init__(f"{path}: {column} {problem}")
        self.column, self.problem = column, problem


def vanishing_row(values: np.ndarray, stored: np.ndarray) -> int | None:
    """Return the first of B rows whose numbers are not all zero, but are as they would be read from the store."""
    lost = ~(stored != 0).any(axis=1)
    lost[lost] = (values[lost] != 0).any(axis=1)
    return int(np.argmax(lost)) if lost.any() else None


def described(row: int, values: np.ndarray, dtype: str) -> str:
    """Say that a row vanishes, for the end of a sentence."""
    largest = float(np.abs(values.astype(np.float64)).max())
    return f"row {row} holds {largest:.3g} at most, which is zero in {dtype}; {remedy(dtype)}"


def remedy(dtype: str) -> str:
    """Say what helps."""
    return "multiply it by a constant" if dtype == "float32" else "set dtype float32, or multiply it by a constant"


class Counts(NamedTuple):
    """Where an `Underflow` stands, in values that JSON can hold."""

    width: int
    """Dimensions."""
    numbers: int
    """Of the data that are not zero."""
    lost: int
    """Of them that are zero in the store."""
    given: str
    """Which dimensions are not zero in the data: bits, as hexadecimal digits."""
    kept: str
    """Which are not zero in the store."""


class Underflow:
    """What becomes zero of one column of activations, block by block."""

    def __init__(self) -> None:
        self._numbers = self._lost = 0
        self._given = self._kept = np.zeros(0, dtype=bool)  # dimensions that are not zero in the data, in the store

    def update(self, values: np.ndarray, stored: np.ndarray) -> None:
        """Take B x dimension numbers, and what would be read of them."""
        given, kept = values != 0, stored != 0
        if not self._given.size:
            self._given = self._kept = np.zeros(values.shape[1], dtype=bool)
        self._given, self._kept = self._given | given.any(axis=0), self._kept | kept.any(axis=0)
        self._numbers += int(given.sum())
        self._lost += int((given & ~kept).sum())

    def check(self, path: Path, column: str, dtype: str) -> None:
        """Warn of what was lost, or raise `UnderflowError` if a dimension was."""
        lost = np.flatnonzero(self._given & ~self._kept)
        if len(lost):
            more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
            problem = f"dimension {lost[0]}{more}: not zero, but too small for {dtype} in every row; {remedy(dtype)}"
            raise UnderflowError(path, column, problem)
        if self._lost > LEAST_SHARE * self._numbers:
            share = 100 * self._lost / self._numbers
            log.warning("%s: %.2g %% of %s are too small for %s, and zero in it", path, share, column, dtype)

    def counts(self) -> Counts:
        """Return where it stands."""
        given, kept = (np.packbits(values).tobytes().hex() for values in (self._given, self._kept))
        return Counts(self._given.size, self._numbers, self._lost, given, kept)

    @classmethod
    def after(cls, counts: Counts) -> "Underflow":
        """Return one that stands where another stood."""
        found = cls()
        found._numbers, found._lost = counts.numbers, counts.lost
        found._given, found._kept = (
            np.unpackbits(np.frombuffer(bytes.fromhex(bits), np.uint8), count=counts.width).astype(bool)
            for bits in (counts.given, counts.kept)
        )
        return found
