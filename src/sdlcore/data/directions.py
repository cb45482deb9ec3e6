"""Check that directions from files are unit vectors."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

TOLERANCE = 1e-3
"""Largest difference of a direction's norm from 1; allows for float16 rounding."""


def check_directions(
    path: str | Path, name: str, rows: np.ndarray, k: int, line: str = "row", zero: bool = False
) -> None:
    """Check that ``rows`` are k unit vectors.

    Parameters
    ----------
    path, name
        File and tensor, for the message.
    rows
        k x dimension.
    k
        Expected number of vectors.
    line
        Whether the file stores each vector as a "row" or a "column", for the message.
    zero
        Also accept vectors of zeros, which mark features that do not occur at one of several sites.

    Raises
    ------
    ValueError
        If they are not; the message names the file, the tensor and the first wrong vector.
    """
    if rows.dtype.kind != "f" or rows.ndim != 2 or len(rows) != k or 0 in rows.shape:
        shape = rows.shape if line == "row" else rows.T.shape
        raise ValueError(f"{path}: {name} is {rows.dtype} of shape {shape}, expected a unit vector in each {line}")
    norms = np.linalg.norm(rows.astype(np.float64), axis=1)
    wrong = ~(np.abs(norms - 1) < TOLERANCE) & ~((norms == 0) & zero)  # also true for NaN
    if wrong.any():
        first = int(np.argmax(wrong))
        raise ValueError(f"{path}: {line} {first} of {name} has norm {norms[first]:.4g}, expected a unit vector")


def check_somewhere(path: str | Path, sites: Sequence[np.ndarray], line: str = "row") -> None:
    """Check that each vector (k x width at each site) is nonzero at some site; ValueError as in `check_directions`."""
    absent = ~np.any([rows.any(axis=1) for rows in sites], axis=0)
    if absent.any():
        first = int(np.argmax(absent))
        raise ValueError(f"{path}: {line} {first} is zero at every site, expected a unit vector at one or more")
