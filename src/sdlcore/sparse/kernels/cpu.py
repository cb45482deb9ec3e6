"""Sparse kernels on the CPU, compiled by numba.

One thread computes each row of an output in a fixed order, so results do not depend on the number of threads.
Arguments are numpy arrays; patterns are compressed sparse rows (`sdlcore.sparse.kernels`). Loops read whole rows of
dense operands in order, four at a time, so their speed is limited by the caches and not by single additions. With many
entries, `sdlcore.sparse.kernels.cpu_tiles` is faster.
"""

from functools import partial
from typing import Any

import numba
import numpy as np
from numba import prange

# sums may be reordered, and operands are taken to be finite: the training loop detects NaN by the loss
_FAST = {"reassoc", "nsz", "contract", "arcp"}
_njit = partial(numba.njit, nogil=True, cache=True, error_model="numpy", fastmath=_FAST)
parallel = _njit(parallel=True)
serial = _njit()

_CHUNK = 64
"""Columns that a thread processes together."""


@parallel
def ranks(offsets: np.ndarray, values: np.ndarray, places: np.ndarray) -> None:
    """Write the rank of each value in its row, from 0 for the largest; of equal values, the earlier value gets the
    lower rank.

    For the hundred or so entries of a row, counting is faster than sorting.
    """
    for r in prange(len(offsets) - 1):
        row = values[offsets[r] : offsets[r + 1]]
        for i in range(len(row)):
            place = 0
            for j in range(len(row)):
                place += 1 if row[j] > row[i] else 0
            for j in range(i):
                place += 1 if row[j] == row[i] else 0
            places[offsets[r] + i] = place


@serial
def transpose(
    offsets: np.ndarray, columns: np.ndarray, column_offsets: np.ndarray, rows: np.ndarray, order: np.ndarray
) -> None:
    """Sort a pattern by column, stably.

    Entry i in column order is in row ``rows[i]``, and is entry ``order[i]`` in row order.
    """
    column_offsets[:] = 0
    for i in range(len(columns)):
        column_offsets[columns[i] + 1] += 1
    for c in range(len(column_offsets) - 1):
        column_offsets[c + 1] += column_offsets[c]
    place = column_offsets[:-1].copy()
    for r in range(len(offsets) - 1):
        for i in range(offsets[r], offsets[r + 1]):
            at = place[columns[i]]
            place[columns[i]] = at + 1
            rows[at] = r
            order[at] = i


@parallel
def gather_rows(
    starts: np.ndarray,
    counts: np.ndarray,
    columns: np.ndarray,
    values: np.ndarray,
    offsets: np.ndarray,
    to_columns: np.ndarray,
    to_values: np.ndarray,
) -> None:
    """Copy ``counts`` entries of each row from ``starts`` to ``offsets``."""
    for r in prange(len(counts)):
        at, to = starts[r], offsets[r]
        for i in range(counts[r]):
            to_columns[to + i] = columns[at + i]
            to_values[to + i] = values[at + i]


@parallel
def exceeding(
    offsets: np.ndarray,
    columns: np.ndarray,
    values: np.ndarray,
    bounds: np.ndarray,
    to_columns: np.ndarray,
    to_values: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Write each row's entries above their column's bound, from the row's offset on, and write their ``counts``."""
    for r in prange(len(offsets) - 1):
        to = offsets[r]
        for i in range(offsets[r], offsets[r + 1]):
            if values[i] > bounds[columns[i]]:
                to_columns[to] = columns[i]
                to_values[to] = values[i]
                to += 1
        counts[r] = to - offsets[r]


@serial
def _add_four(out: np.ndarray, rows: tuple, weights: tuple) -> None:
    """Add four rows, each times its weight, to ``out``."""
    w0, w1, w2, w3 = rows
    v0, v1, v2, v3 = weights
    for j in range(len(out)):
        out[j] += v0 * w0[j] + v1 * w1[j] + v2 * w2[j] + v3 * w3[j]


@serial
def add_one(out: np.ndarray, row: np.ndarray, weight: Any) -> None:
    """Add a row times a weight to ``out``."""
    for j in range(len(out)):
        out[j] += weight * row[j]


@serial
def add_entries(out: np.ndarray, columns: np.ndarray, values: np.ndarray, W: np.ndarray) -> None:
    """Add the rows of W at ``columns``, each times its value, to ``out``."""
    whole = len(columns) // 4 * 4
    for i in range(0, whole, 4):
        rows = W[columns[i]], W[columns[i + 1]], W[columns[i + 2]], W[columns[i + 3]]
        _add_four(out, rows, (values[i], values[i + 1], values[i + 2], values[i + 3]))
    for i in range(whole, len(columns)):
        add_one(out, W[columns[i]], values[i])


@parallel
def gather_sum(offsets: np.ndarray, columns: np.ndarray, values: np.ndarray, W: np.ndarray, out: np.ndarray) -> None:
    """out[r] = sum over the entries i of row r of values[i] W[columns[i]]."""
    for r in prange(len(offsets) - 1):
        start, stop = offsets[r], offsets[r + 1]
        out[r] = 0
        add_entries(out[r], columns[start:stop], values[start:stop], W)


@parallel
def dots(
    column_offsets: np.ndarray,
    rows: np.ndarray,
    order: np.ndarray,
    W: np.ndarray,
    x: np.ndarray,
    values: np.ndarray,
) -> None:
    """values[order[i]] = W[c] . x[rows[i]] for the entries i of each column c.

    The loop goes by columns, because a batch stays in the caches and a dictionary does not: the loop reads each row of
    the dictionary once.
    """
    n, d = W.shape
    zero = W.dtype.type(0)
    # many more chunks of columns than threads, because columns differ in their number of entries
    chunks = (n + _CHUNK - 1) // _CHUNK
    for chunk in prange(chunks):
        for c in range(chunk * _CHUNK, min(n, (chunk + 1) * _CHUNK)):
            w = W[c]
            start, stop = column_offsets[c], column_offsets[c + 1]
            whole = start + (stop - start) // 4 * 4
            for i in range(start, whole, 4):
                x0, x1, x2, x3 = x[rows[i]], x[rows[i + 1]], x[rows[i + 2]], x[rows[i + 3]]
                s0 = s1 = s2 = s3 = zero
                for j in range(d):
                    s0 += w[j] * x0[j]
                    s1 += w[j] * x1[j]
                    s2 += w[j] * x2[j]
                    s3 += w[j] * x3[j]
                values[order[i]], values[order[i + 1]] = s0, s1
                values[order[i + 2]], values[order[i + 3]] = s2, s3
            for i in range(whole, stop):
                x0 = x[rows[i]]
                s0 = zero
                for j in range(d):
                    s0 += w[j] * x0[j]
                values[order[i]] = s0


@parallel
def scatter_sum(
    column_offsets: np.ndarray,
    rows: np.ndarray,
    order: np.ndarray,
    values: np.ndarray,
    x: np.ndarray,
    out: np.ndarray,
    squares: np.ndarray,
) -> None:
    """out[c] = sum over the entries i of column c of values[order[i]] x[rows[i]].

    squares[c] = out[c] . out[c], computed while the row is in the first cache. Reading all rows again for norms would
    take as long as summing them.
    """
    n = len(column_offsets) - 1
    chunks = (n + _CHUNK - 1) // _CHUNK
    for chunk in prange(chunks):
        for c in range(chunk * _CHUNK, min(n, (chunk + 1) * _CHUNK)):
            start, stop = column_offsets[c], column_offsets[c + 1]
            to = out[c]
            to[:] = 0
            whole = start + (stop - start) // 4 * 4
            for i in range(start, whole, 4):
                x0, x1, x2, x3 = x[rows[i]], x[rows[i + 1]], x[rows[i + 2]], x[rows[i + 3]]
                v0, v1 = values[order[i]], values[order[i + 1]]
                v2, v3 = values[order[i + 2]], values[order[i + 3]]
                _add_four(to, (x0, x1, x2, x3), (v0, v1, v2, v3))
            for i in range(whole, stop):
                add_one(to, x[rows[i]], values[order[i]])
            squares[c] = squared_norm(to)


@serial
def squared_norm(row: np.ndarray) -> Any:
    total = row.dtype.type(0)
    for j in range(len(row)):
        total += row[j] * row[j]
    return total


@parallel
def decode_backward(
    column_offsets: np.ndarray,
    rows: np.ndarray,
    order: np.ndarray,
    values: np.ndarray,
    W: np.ndarray,
    x: np.ndarray,
    to_values: np.ndarray,
    out: np.ndarray,
    squares: np.ndarray,
    products: np.ndarray,
) -> None:
    """Compute `dots` and `scatter_sum` of one pattern, and products[c] = out[c] . W[c].

    `dots` and `scatter_sum` read the same rows of ``x``, which is most of their work.
    """
    n, d = W.shape
    zero = W.dtype.type(0)
    chunks = (n + _CHUNK - 1) // _CHUNK
    for chunk in prange(chunks):
        for c in range(chunk * _CHUNK, min(n, (chunk + 1) * _CHUNK)):
            w, to = W[c], out[c]
            to[:] = 0
            start, stop = column_offsets[c], column_offsets[c + 1]
            product = zero
            whole = start + (stop - start) // 4 * 4
            for i in range(start, whole, 4):
                x0, x1, x2, x3 = x[rows[i]], x[rows[i + 1]], x[rows[i + 2]], x[rows[i + 3]]
                v0, v1 = values[order[i]], values[order[i + 1]]
                v2, v3 = values[order[i + 2]], values[order[i + 3]]
                s0 = s1 = s2 = s3 = zero
                for j in range(d):
                    s0 += w[j] * x0[j]
                    s1 += w[j] * x1[j]
                    s2 += w[j] * x2[j]
                    s3 += w[j] * x3[j]
                    to[j] += v0 * x0[j] + v1 * x1[j] + v2 * x2[j] + v3 * x3[j]
                to_values[order[i]], to_values[order[i + 1]] = s0, s1
                to_values[order[i + 2]], to_values[order[i + 3]] = s2, s3
                product += v0 * s0 + v1 * s1 + v2 * s2 + v3 * s3
            for i in range(whole, stop):
                x0, v0 = x[rows[i]], values[order[i]]
                s0 = zero
                for j in range(d):
                    s0 += w[j] * x0[j]
                    to[j] += v0 * x0[j]
                to_values[order[i]] = s0
                product += v0 * s0
            squares[c] = squared_norm(to)
            products[c] = product
