"""Activations that are too small for the precision of a store, and become zero in it.

float16 ends at 6e-8. A few zeros more do no harm and are counted; a sample, or a dimension, that is all zero in the
store and is not in the data is lost, and nothing after the store could know.
"""

import logging
from pathlib import Path
from typing import Any

import numpy as np

from sdlcore.data.layout import StoreError

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

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        bits = {"given": self._given, "kept": self._kept}
        packed = {name: np.packbits(values).tobytes().hex() for name, values in bits.items()}
        return {"width": self._given.size, "numbers": self._numbers, "lost": self._lost, **packed}

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> "Underflow":
        """Return what `to_json` gave."""
        state = cls()
        state._numbers, state._lost = found["numbers"], found["lost"]
        state._given, state._kept = (
            np.unpackbits(np.frombuffer(bytes.fromhex(found[name]), np.uint8), count=found["width"]).astype(bool)
            for name in ("given", "kept")
        )
        return state
