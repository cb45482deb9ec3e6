"""Passes over the rows of a matrix on the CPU, compiled by numba: norms, Adam, variances."""

import numba
import numpy as np
from numba import prange

from sdlcore.sparse.kernels.cpu import add_one, parallel, squared_norm


@parallel
def squared_norms(W: np.ndarray) -> np.ndarray:
    """Return the squared norm of each row."""
    out = np.empty(len(W), W.dtype)
    for r in prange(len(W)):
        out[r] = squared_norm(W[r])
    return out


@parallel
def row_products(A: np.ndarray, W: np.ndarray, products: np.ndarray, squares: np.ndarray) -> None:
    """products[r] = A[r] . W[r] and squares[r] = A[r] . A[r]."""
    for r in prange(len(W)):
        row, other = A[r], W[r]
        product = square = W.dtype.type(0)
        for j in range(len(row)):
            product += row[j] * other[j]
            square += row[j] * row[j]
        products[r] = product
        squares[r] = square


@parallel
def site_norms(W: np.ndarray, edges: np.ndarray, norms: np.ndarray) -> None:
    """norms[r, s] = the norm of columns edges[s] to edges[s + 1] of row r."""
    for r in prange(len(W)):
        row = W[r]
        for s in range(len(edges) - 1):
            norms[r, s] = np.sqrt(squared_norm(row[edges[s] : edges[s + 1]]))


@parallel
def add_scaled_sites(out: np.ndarray, W: np.ndarray, edges: np.ndarray, factors: np.ndarray) -> None:
    """out[r, j] += factors[r, s] W[r, j] for the columns j of site s."""
    for r in prange(len(W)):
        row, to = W[r], out[r]
        for s in range(len(edges) - 1):
            add_one(to[edges[s] : edges[s + 1]], row[edges[s] : edges[s + 1]], factors[r, s])


@parallel
def normalise_rows(W: np.ndarray, smallest: float) -> None:
    """Divide each row by its norm, in place; norms below ``smallest`` count as ``smallest``."""
    for r in prange(len(W)):
        row = W[r]
        total = W.dtype.type(0)
        for j in range(len(row)):
            total += row[j] * row[j]
        factor = W.dtype.type(1 / max(np.sqrt(total), smallest))
        for j in range(len(row)):
            row[j] *= factor


@parallel
def adam(p: np.ndarray, gradient: np.ndarray, mean: np.ndarray, square: np.ndarray, numbers: tuple) -> None:
    """Take one step of Adam on flat arrays, in place, with the constants computed by `NumbaKernels.adam`."""
    factor, keep1, take1, keep2, take2, size, root, smallest = numbers
    for i in prange(len(p)):
        g = gradient[i] * factor
        m = keep1 * mean[i] + take1 * g
        v = keep2 * square[i] + take2 * g * g
        mean[i] = m
        square[i] = v
        p[i] -= size * m / (np.sqrt(v) * root + smallest)


@parallel
def adam_on_sphere(
    p: np.ndarray, gradient: np.ndarray, mean: np.ndarray, square: np.ndarray, along: np.ndarray, numbers: tuple
) -> None:
    """`adam` for unit rows, in one pass.

    The gradient is first made tangent, using its product ``along`` with the row; rows are normalised last.
    """
    factor, keep1, take1, keep2, take2, size, root, smallest = numbers
    for r in prange(len(p)):
        row, slopes, means, squares = p[r], gradient[r], mean[r], square[r]
        off = along[r]
        total = p.dtype.type(0)
        for j in range(len(row)):
            g = (slopes[j] - off * row[j]) * factor
            m = keep1 * means[j] + take1 * g
            v = keep2 * squares[j] + take2 * g * g
            means[j] = m
            squares[j] = v
            moved = row[j] - size * m / (np.sqrt(v) * root + smallest)
            row[j] = moved
            total += moved * moved
        back = p.dtype.type(1 / max(np.sqrt(total), 1e-12))
        for j in range(len(row)):
            row[j] *= back


# without fastmath, so that sums are added in the written order, and torch's variance is matched
@numba.njit(nogil=True, cache=True, error_model="numpy")
def column_variances(x: np.ndarray, out: np.ndarray) -> None:
    """Write each column's variance, in double precision; subtracting the first row keeps digits of small variances."""
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
