"""Check that directions are unit vectors."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

TOLERANCE = 1e-3
"""Largest difference of a direction's norm from 1; allows for float16 rounding."""


def check_unit(where: str | Path, sites: Mapping[str, np.ndarray], line: str = "row") -> None:
    """Check that k directions are unit vectors. A direction may be zero at some of several sites, but not at all.

    Parameters
    ----------
    where
        File or argument, for the message.
    sites
        k x width floating-point numbers of each site, by the name of its array.
    line
        Whether the arrays have each vector as a "row" or a "column", for the message.

    Raises
    ------
    ValueError
        If they are not; the message names the array and the first wrong vector.
    """
    first, *_ = sites.values()
    for name, rows in sites.items():
        if rows.dtype.kind != "f" or rows.ndim != 2 or not rows.size or len(rows) != len(first):
            shape = rows.shape if line == "row" else rows.T.shape
            raise ValueError(f"{where}: {name} is {rows.dtype} of shape {shape}, expected a unit vector in each {line}")
        norms = np.linalg.norm(rows.astype(np.float64), axis=1)
        wrong = ~(np.abs(norms - 1) < TOLERANCE) & ~((norms == 0) & (len(sites) > 1))  # also true for NaN
        if wrong.any():
            number = int(np.argmax(wrong))
            raise ValueError(f"{where}: {line} {number} of {name} has norm {norms[number]:.4g}, expected a unit vector")
    absent = ~np.any([rows.any(axis=1) for rows in sites.values()], axis=0)
    if absent.any():
        number = int(np.argmax(absent))
        raise ValueError(f"{where}: {line} {number} is zero at every site, expected a unit vector at one or more")
