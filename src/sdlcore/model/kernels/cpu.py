"""The sparse kernels on the CPU, compiled by numba.

Every row of an output is computed by one thread in a fixed order, so results do not depend on the number of threads.
Arguments are numpy arrays; patterns are in compressed sparse rows, as `sdlcore.model.kernels` says. Rows of dense
operands are read whole and in order, four at a time, which is what keeps these kernels at the speed of the caches
rather than of single additions.
"""

from typing import Any

import numba
import numpy as np
from numba import prange

# a sum may be added up in any order, and operands are finite: NaN is caught by the loop, by the loss
_FAST = {"reassoc", "nsz", "contract", "arcp"}
_options: dict[str, Any] = {"nogil": True, "cache": True, "error_model": "numpy"}
parallel = numba.njit(parallel=True, fastmath=_FAST, **_options)
serial = numba.njit(fastmath=_FAST, **_options)

_BLOCK = 32


def _collector(bound_at: Any) -> Any:
    """Make the function that finds the entries of a row above ``bound_at(bounds, column)``."""

    @serial
    def collect(row: np.ndarray, bounds: Any, columns: np.ndarray) -> int:
        """Write the columns where ``row`` exceeds its bound, ascending, and return how many there are.

        Most blocks have none, which counting tells: of all ways to ask, the one that compilers vectorise.
        """
        found = 0
        n = len(row)
        whole = n - n % _BLOCK
        for start in range(0, whole, _BLOCK):
            count = 0
            for j in range(start, start + _BLOCK):
                count += 1 if row[j] > bound_at(bounds, j) else 0
            if count > 0:
                for j in range(start, start + _BLOCK):
                    if row[j] > bound_at(bounds, j):
                        columns[found] = j
                        found += 1
        for j in range(whole, n):
            if row[j] > bound_at(bounds, j):
                columns[found] = j
                found += 1
        return found

    return collect


@serial
def _same(bound: Any, column: int) -> Any:
    return bound


@serial
def _own(bounds: np.ndarray, column: int) -> Any:
    return bounds[column]


_above_one = _collector(_same)
_above_each = _collector(_own)


@serial
def _kth_largest(values: np.ndarray, k: int) -> Any:
    """Return the k-th largest, counted from 1, by quickselect; reorders ``values``."""
    low, high = 0, len(values) - 1
    while low < high:
        pivot = values[(low + high) >> 1]
        i, j = low, high
        while i <= j:
            while values[i] > pivot:
                i += 1
            while values[j] < pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if k - 1 <= j:
            high = j
        elif k - 1 >= i:
            low = i
        else:
            break
    return values[k - 1]


@parallel
def topk_rows(pre: np.ndarray, k: int, shrink: float, drop: float, chunks: int, columns: np.ndarray) -> np.ndarray:
    """Write the columns of the k largest positive entries of each row, ascending, and return how many each row has.

    Rows of a batch have similar k-th largest values: the previous row's, lowered by ``t * shrink - drop``, is a bound
    that leaves few candidates to sort. The bound is lowered until at least k exceed it, so the guess changes the time
    taken and nothing else. Of equal values at the edge those of smaller column are kept.
    """
    rows, n = pre.shape
    counts = np.empty(rows, np.int64)
    for chunk in prange(chunks):
        candidates = np.empty(n, np.int32)
        values = np.empty(n, pre.dtype)
        zero = pre.dtype.type(0)
        guess = zero
        for r in range(rows * chunk // chunks, rows * (chunk + 1) // chunks):
            row = pre[r]
            bound = guess
            found = _above_one(row, bound, candidates)
            while found < k and bound > zero:
                bound = max(pre.dtype.type(bound * shrink - drop), zero) if bound > 1e-6 else zero
                found = _above_one(row, bound, candidates)
            if found <= k:
                columns[r, :found] = candidates[:found]
                counts[r] = found
                guess = zero
                continue
            for i in range(found):
                values[i] = row[candidates[i]]
            edge = _kth_largest(values[:found], k)
            equal = k
            for i in range(k):
                equal -= values[i] > edge
            kept = 0
            for i in range(found):
                value = row[candidates[i]]
                if value > edge or (value == edge and equal > 0):
                    equal -= value == edge
                    columns[r, kept] = candidates[i]
                    kept += 1
            counts[r] = k
            guess = max(pre.dtype.type(edge * shrink - drop), zero)
    return counts


@parallel
def count_above(pre: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Return how many entries of each row exceed their column's bound."""
    rows, n = pre.shape
    counts = np.empty(rows, np.int64)
    for r in prange(rows):
        row = pre[r]
        count = 0
        for j in range(n):
            count += 1 if row[j] > bounds[j] else 0
        counts[r] = count
    return counts


@parallel
def columns_above(pre: np.ndarray, bounds: np.ndarray, offsets: np.ndarray, columns: np.ndarray) -> None:
    """Write the columns that `count_above` counted, row by row and ascending."""
    for r in prange(len(pre)):
        _above_each(pre[r], bounds, columns[offsets[r] : offsets[r + 1]])


@parallel
def take(pre: np.ndarray, offsets: np.ndarray, columns: np.ndarray, values: np.ndarray) -> None:
    """values[i] = pre[row of i, columns[i]]."""
    for r in prange(len(offsets) - 1):
        row = pre[r]
        for i in range(offsets[r], offsets[r + 1]):
            values[i] = row[columns[i]]


@parallel
def ranks(offsets: np.ndarray, values: np.ndarray, places: np.ndarray) -> None:
    """Write the place of each value among its row's, descending from 0; of equal values the earlier comes first.

    Counting beats sorting for the hundred or so entries that a row has.
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

    Entry i of the columns stands in row ``rows[i]`` and is entry ``order[i]`` of the rows.
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


@serial
def _add_rows(out: np.ndarray, W: np.ndarray, index: np.ndarray, weight: np.ndarray, divisor: int) -> None:
    """out = sum_i weight[i] W[index[i] // divisor]."""
    out[:] = 0
    n, d = len(index), len(out)
    whole = n - n % 4
    for i in range(0, whole, 4):
        w0, w1 = W[index[i] // divisor], W[index[i + 1] // divisor]
        w2, w3 = W[index[i + 2] // divisor], W[index[i + 3] // divisor]
        v0, v1, v2, v3 = weight[i], weight[i + 1], weight[i + 2], weight[i + 3]
        for j in range(d):
            out[j] += v0 * w0[j] + v1 * w1[j] + v2 * w2[j] + v3 * w3[j]
    for i in range(whole, n):
        w0, v0 = W[index[i] // divisor], weight[i]
        for j in range(d):
            out[j] += v0 * w0[j]


@parallel
def gather_sum(offsets: np.ndarray, columns: np.ndarray, values: np.ndarray, W: np.ndarray, out: np.ndarray) -> None:
    """out[r] = sum over the entries i of row r of values[i] W[columns[i]]."""
    for r in prange(len(offsets) - 1):
        start, stop = offsets[r], offsets[r + 1]
        _add_rows(out[r], W, columns[start:stop], values[start:stop], 1)


@parallel
def dots(
    offsets: np.ndarray, columns: np.ndarray, W: np.ndarray, x: np.ndarray, groups: int, values: np.ndarray
) -> None:
    """values[i] = W[columns[i]] . x[row of i // groups]."""
    d = W.shape[1]
    zero = W.dtype.type(0)
    for r in prange(len(offsets) - 1):
        xr = x[r // groups]
        start, stop = offsets[r], offsets[r + 1]
        whole = start + (stop - start) // 4 * 4
        for i in range(start, whole, 4):
            w0, w1, w2, w3 = W[columns[i]], W[columns[i + 1]], W[columns[i + 2]], W[columns[i + 3]]
            s0 = s1 = s2 = s3 = zero
            for j in range(d):
                s0 += xr[j] * w0[j]
                s1 += xr[j] * w1[j]
                s2 += xr[j] * w2[j]
                s3 += xr[j] * w3[j]
            values[i], values[i + 1], values[i + 2], values[i + 3] = s0, s1, s2, s3
        for i in range(whole, stop):
            w0 = W[columns[i]]
            s0 = zero
            for j in range(d):
                s0 += xr[j] * w0[j]
            values[i] = s0


@parallel
def scatter_sum(
    column_offsets: np.ndarray,
    rows: np.ndarray,
    values: np.ndarray,
    x: np.ndarray,
    groups: int,
    out: np.ndarray,
) -> None:
    """out[c] = sum over the entries i of column c, in column order, of values[i] x[rows[i] // groups]."""
    n = len(column_offsets) - 1
    # chunks of columns, many more than threads: columns differ in how many entries they have
    chunks = (n + 63) // 64
    for chunk in prange(chunks):
        for c in range(chunk * 64, min(n, chunk * 64 + 64)):
            start, stop = column_offsets[c], column_offsets[c + 1]
            _add_rows(out[c], x, rows[start:stop], values[start:stop], groups)


@parallel
def squared_norms(W: np.ndarray) -> np.ndarray:
    """Return the squared norm of each row."""
    out = np.empty(len(W), W.dtype)
    for r in prange(len(W)):
        total = W.dtype.type(0)
        row = W[r]
        for j in range(len(row)):
            total += row[j] * row[j]
        out[r] = total
    return out


@parallel
def adam(p: np.ndarray, gradient: np.ndarray, mean: np.ndarray, square: np.ndarray, numbers: tuple) -> None:
    """One step of Adam on flat arrays, in place, with the numbers that `sdlcore.model.kernels.adam` puts together."""
    factor, keep1, take1, keep2, take2, size, root, smallest = numbers
    for i in prange(len(p)):
        g = gradient[i] * factor
        m = keep1 * mean[i] + take1 * g
        v = keep2 * square[i] + take2 * g * g
        mean[i] = m
        square[i] = v
        p[i] -= size * m / (np.sqrt(v) * root + smallest)


@parallel
def site_norms(W: np.ndarray, edges: np.ndarray, norms: np.ndarray) -> None:
    """norms[r, s] = the norm of columns edges[s] to edges[s + 1] of row r."""
    for r in prange(len(W)):
        row = W[r]
        for s in range(len(edges) - 1):
            total = W.dtype.type(0)
            for j in range(edges[s], edges[s + 1]):
                total += row[j] * row[j]
            norms[r, s] = np.sqrt(total)


@parallel
def add_scaled_sites(out: np.ndarray, W: np.ndarray, edges: np.ndarray, factors: np.ndarray) -> None:
    """out[r, j] += factors[r, s] W[r, j] for the columns j of site s."""
    for r in prange(len(W)):
        row, to = W[r], out[r]
        for s in range(len(edges) - 1):
            factor = factors[r, s]
            for j in range(edges[s], edges[s + 1]):
                to[j] += factor * row[j]


@parallel
def normalise_rows(W: np.ndarray, smallest: float) -> None:
    """Divide each row by its norm, in place; by ``smallest`` where the norm is below that."""
    for r in prange(len(W)):
        row = W[r]
        total = W.dtype.type(0)
        for j in range(len(row)):
            total += row[j] * row[j]
        factor = W.dtype.type(1 / max(np.sqrt(total), smallest))
        for j in range(len(row)):
            row[j] *= factor


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
def adam_on_sphere(
    p: np.ndarray, gradient: np.ndarray, mean: np.ndarray, square: np.ndarray, along: np.ndarray, numbers: tuple
) -> None:
    """`adam` for unit rows, in one pass.

    The gradient is made tangent first, by its product ``along`` with the row, and rows are put back on the sphere last.
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
