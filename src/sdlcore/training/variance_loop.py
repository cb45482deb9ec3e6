"""The loop behind `sdlcore.training.variance`, compiled by numba; it takes a moment to import."""

import numba
import numpy as np


@numba.njit(nogil=True, cache=True, error_model="numpy")
def variances(x: np.ndarray, out: np.ndarray) -> None:
    """Write the variance of each column, taken in double precision about the first row, lest a large mean cancel it."""
    rows, columns = x.shape
    sums, squares = np.zeros(columns), np.zeros(columns)
    for i in range(rows):
        for j in range(columns):
            off = np.float64(x[i, j]) - np.float64(x[0, j])
            sums[j] += off
            squares[j] += off * off
    for j in range(columns):
        mean = sums[j] / rows
        out[j] = squares[j] / rows - mean * mean
