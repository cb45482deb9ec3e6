"""Find activations that become zero in the precision of a store.

The smallest float16 is 6e-8. A few more zeros do no harm and are counted. A sample or a dimension that is not zero in
the data but all zero in the store is refused: it would be lost, and nothing that reads the store could know.
"""

import logging
from pathlib import Path
from typing import Any

import numpy as np

from sdlcore.errors import StoreError
from sdlcore.settings import Json

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

    def to_json(self) -> list[Json]:
        """Return the counts so far as JSON; dimensions as bits in hexadecimal digits."""
        bits = [np.packbits(values).tobytes().hex() for values in (self._given, self._kept)]
        return [self._given.size, self._numbers, self._lost, *bits]

    @classmethod
    def from_json(cls, saved: list[Any]) -> "Underflow":
        """Return the counts that `to_json` saved."""
        found = cls()
        width, found._numbers, found._lost, *bits = saved
        found._given, found._kept = (
            np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8), count=width).astype(bool) for text in bits
        )
        return found
