"""Building blocks of array files."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.fuzz.cases import choose

Made = tuple[str, Path, str | None, Callable[[], np.ndarray] | None, bool]
"""Description, path, key, plain reader, and whether rejecting it would be wrong."""


def values(rng: np.random.Generator, dtype: str = "f4") -> np.ndarray:
    """Return a matrix, mostly of ordinary numbers."""
    rows, columns = int(rng.integers(2, 40)), int(rng.integers(1, 9))
    x = rng.standard_normal((rows, columns))
    odd = rng.random()
    if odd < 0.05:
        x[int(rng.integers(rows)), int(rng.integers(columns))] = choose(rng, np.nan, np.inf, -np.inf)
    elif odd < 0.1:
        x *= choose(rng, 1e5, 1e20, 1e-6, 1e-9, 1e-42)
    elif odd < 0.14:
        x[:, 0] *= 1e-9
    elif odd < 0.16:
        x[:] = -0.0
    with np.errstate(all="ignore"):
        return x.astype(dtype)
