"""Search kernels on the CPU: select the few pre-activations that matter from tiles, compiled by numba.

A tile contains the pre-activations of B rows and some columns, straight from a matrix product and still in the cache.
The tile's dtype determines how a number becomes a pre-activation. float32 and float64 are the product W_E x, to which
``bias`` is added. int32 is the product of quantised factors: it is multiplied by ``scale[0, column] * factor[row, 0]``,
and ``bias`` is added. int16 holds the bits of complete pre-activations in bfloat16. For quantised tiles, products of
the other two rows of ``scale`` and columns of ``factor`` are added. One thread searches each row in a fixed order, so
results do not depend on the number of threads.
"""

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import prange
from numba.core import cgutils, types
from numba.cpython.unsafe import numbers
from numba.extending import intrinsic, overload

from sdlcore.sparse.kernels.cpu import _FAST, parallel, serial
from sdlcore.sparse.kernels.cpu_tiles import fetch_line

_trailing_zeros: Any = numbers.trailing_zeros
_BLOCK = 16
"""Columns compared with their bounds at once, as many as the widest registers hold. Usually none exceeds its bound."""


def _compare(typing: Any, row: Any, first: Any, bounds: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lane = context.get_value_type(row.dtype)
        block = ir.VectorType(lane, _BLOCK)

        def load(kind: Any, value: Any) -> Any:
            data = cgutils.create_struct_proxy(kind)(context, builder, value).data
            start = builder.bitcast(builder.gep(data, [arguments[1]]), block.as_pointer())
            return builder.load(start, align=row.dtype.bitwidth // 8)

        numbers = load(row, arguments[0])
        if isinstance(bounds, types.Array):
            least = load(bounds, arguments[2])
        else:
            one = builder.insert_element(ir.Constant(block, ir.Undefined), arguments[2], ir.IntType(32)(0))
            least = builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(ir.IntType(32), _BLOCK), [0] * _BLOCK))
        compare = builder.fcmp_ordered if isinstance(row.dtype, types.Float) else builder.icmp_signed
        bits = builder.bitcast(compare(">", numbers, least), ir.IntType(_BLOCK))
        return builder.zext(bits, ir.IntType(64))

    like = bounds if isinstance(bounds, types.Array) else row.dtype
    return types.int64(row, types.intp, like), code


_exceeding: Any = intrinsic(_compare)
"""``_exceeding(row, first, bounds)``: bit mask of a block's numbers, from ``first`` on, that exceed their bound.

``bounds`` is an array like ``row``, or one number for all. A numba loop would compare one number after the other.
"""


@serial
def _append(
    hits: Any, first: int, start: int, row: np.ndarray, columns: np.ndarray, values: np.ndarray, at: Any
) -> Any:
    """Write the columns and numbers of a block that ``hits`` marks, from ``at`` on, and return the next free place."""
    while hits:
        j = first + _trailing_zeros(hits)
        columns[at] = start + j
        values[at] = row[j]
        at += 1
        hits &= hits - 1
    return at


@serial
def find_above(row: np.ndarray, bound: Any, columns: np.ndarray) -> Any:
    """Write the columns of the numbers above a bound, and return how many there are."""
    whole, at = len(row) - len(row) % _BLOCK, 0
    for first in range(0, whole, _BLOCK):
        hits = _exceeding(row, first, bound)
        while hits:
            columns[at] = first + _trailing_zeros(hits)
            at += 1
            hits &= hits - 1
    for j in range(whole, len(row)):
        if row[j] > bound:
            columns[at] = j
            at += 1
    return at


@serial
def find_largest(row: np.ndarray, bound: Any) -> Any:
    """Return the place of the largest number above a bound, the first of equal ones, or -1. NaN counts as below it."""
    whole, at = len(row) - len(row) % _BLOCK, -1
    for first in range(0, whole, _BLOCK):
        hits = _exceeding(row, first, bound)
        while hits:
            j = first + _trailing_zeros(hits)
            hits &= hits - 1
            if row[j] > bound:
                bound, at = row[j], j
    for j in range(whole, len(row)):
        if row[j] > bound:
            bound, at = row[j], j
    return at


@parallel
def find_nearest(
    rows: np.ndarray,
    start: int,
    products: np.ndarray,
    steps: np.ndarray,
    errors: np.ndarray,
    neighbours: np.ndarray,
    largest: np.ndarray,
) -> None:
    """Write the largest inner product of some rows with another row, and which row that is, if it is positive.

    ``products`` are integer inner products of the rows from ``start`` on with all rows. Multiplied by the ``steps`` of
    both rows, they differ from the exact inner products by at most a row's ``errors``.
    """
    for of_row in prange(len(products)):
        i = start + of_row
        near, candidates = np.empty(len(rows), rows.dtype), np.empty(len(rows), np.int32)
        for j in range(len(rows)):
            near[j] = rows.dtype.type(products[of_row, j]) * (steps[i] * steps[j])
        near[i] = -np.inf
        at = find_largest(near, -errors[i])
        if at < 0:
            continue
        bound = max(_dot(rows[i], rows[at]), rows.dtype.type(0)) - errors[i]
        for j in candidates[: find_above(near, bound, candidates)]:
            product = _dot(rows[i], rows[j])
            if product > largest[i]:
                neighbours[i], largest[i] = j, product


@serial
def _dot(row: np.ndarray, other: np.ndarray) -> Any:
    total = row.dtype.type(0)
    for j in range(len(row)):
        total += row[j] * other[j]
    return total


@serial
def _values(row: np.ndarray, scale: tuple, bias: np.ndarray, factor: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Write a tile row's pre-activations to ``out`` and return it, because vector units compare numbers in memory."""
    _write(row, scale, bias, factor, out)
    return out


def _write(row: np.ndarray, scale: tuple, bias: np.ndarray, factor: np.ndarray, out: np.ndarray) -> None:
    """Write pre-activations according to the tile's dtype."""
    raise TypeError("for use in compiled code only")


# not strict: strict mode would count different annotations as different signatures
@overload(_write, jit_options={"fastmath": _FAST, "error_model": "numpy"}, strict=False)
def _compiled_write(row: Any, scale: Any, bias: Any, factor: Any, out: Any) -> Any:
    def from_bfloat16(row: Any, scale: Any, bias: Any, factor: Any, out: Any) -> None:
        for j in range(len(row)):
            out[j] = np.int32(np.int32(row[j]) << 16).view(np.float32)

    def from_integers(row: Any, scale: Any, bias: Any, factor: Any, out: Any) -> None:
        of_row, of_norms, of_lost = factor[0], factor[1], factor[2]
        counts, norms, lost = scale[0], scale[1], scale[2]
        for j in range(len(row)):
            number = np.float32(row[j]) * (counts[j] * of_row)
            out[j] = number + bias[j] + norms[j] * of_norms + lost[j] * of_lost

    def from_product(row: Any, scale: Any, bias: Any, factor: Any, out: Any) -> None:
        for j in range(len(row)):
            out[j] = row[j] + bias[j]

    return {numba.types.int16: from_bfloat16, numba.types.int32: from_integers}.get(row.dtype, from_product)


def _keys(row: np.ndarray, scale: tuple, bias: np.ndarray, factor: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Return numbers in the order of pre-activations if these are positive, and numbers of at most zero otherwise."""
    raise TypeError("for use in compiled code only")


@overload(_keys, jit_options={"fastmath": _FAST, "error_model": "numpy"}, strict=False)
def _compiled_keys(row: Any, scale: Any, bias: Any, factor: Any, out: Any) -> Any:
    if row.dtype == numba.types.int16:
        return lambda row, scale, bias, factor, out: row
    return lambda row, scale, bias, factor, out: _values(row, scale, bias, factor, out)


@serial
def _divide(bits: np.ndarray, k: int) -> Any:
    """Return two integers and a count: more than k of ``bits`` exceed the first, and ``count`` <= k exceed the second.

    The two are neighbours, or exactly k exceed the second. There must be more than k bits, all positive. The method is
    bisection, because vector units are good at counting the numbers above a value.
    """
    integer = bits.dtype.type
    low, high = bits[0], bits[0]
    for i in range(len(bits)):
        low = min(low, bits[i])
        high = max(high, bits[i])
    low = integer(low - 1)
    exceed: Any = 0
    while high - low > 1:
        # numba widens integers to 64 bits, which would halve the numbers that a vector compares
        middle = integer(low + (high - low) // 2)
        above = np.int32(0)
        for i in range(len(bits)):
            above = np.int32(above + np.int32(bits[i] > middle))
        if above > k:
            low = middle
        else:
            high, exceed = middle, above
            if exceed == k:
                break
    return low, high, exceed


@serial
def _prune(columns: np.ndarray, values: np.ndarray, bits: np.ndarray, n: int, k: int) -> Any:
    """Keep the k largest of ``n`` > k positive entries, in their order; of equal ones, the first.

    Return a bound: the smallest entry kept, or a number that exactly the k entries exceed. ``bits`` are ``values``
    viewed as integers, which have the same order; both have more room than entries.
    """
    _, edge, exceed = _divide(bits[:n], k)
    equal = k - exceed
    to: Any = 0
    for i in range(n):
        at_edge = bits[i] == edge and equal > 0
        columns[to] = columns[i]
        values[to] = values[i]
        to += np.int64(at_edge or bits[i] > edge)
        equal -= np.int64(at_edge)
    bits[-1] = edge
    return values[-1]


@serial
def _first_bound(keys: np.ndarray, k: int, values: np.ndarray, bits: np.ndarray) -> Any:
    """Return a bound that at least k keys of a row exceed, or zero. It is taken from the maxima of groups of keys.

    ``bits`` are ``values`` viewed as integers, with room for an eighth of the row.
    """
    groups = len(keys) // (8 * _BLOCK) * _BLOCK
    if groups <= k:
        return values.dtype.type(0)
    for group in range(0, groups, _BLOCK):
        for j in range(_BLOCK):
            values[group + j] = values.dtype.type(0)
        for first in range(8 * group, 8 * (group + _BLOCK), _BLOCK):
            for j in range(_BLOCK):
                key = keys[first + j]
                values[group + j] = key if key > values[group + j] else values[group + j]
    low, high, exceed = _divide(bits[:groups], k)
    bits[0] = high if exceed == k else max(low, 0)
    return values[0]


@parallel
def push_largest(
    pre: np.ndarray,
    scale: np.ndarray,
    bias: np.ndarray,
    factor: np.ndarray,
    start: int,
    k: int,
    chunks: int,
    columns: np.ndarray,
    values: np.ndarray,
    bits: np.ndarray,
    counts: np.ndarray,
    bounds: np.ndarray,
    maxima: np.ndarray,
    maxima_bits: np.ndarray,
    written: np.ndarray,
) -> None:
    """Add a tile, whose first column is ``start``, to the candidates for the k largest entries of each row.

    ``columns`` and ``values`` (B x room) contain each row's ``counts`` candidates and their keys, in column order. Keys
    become candidates if they exceed ``bounds``. ``written`` has room for one row per chunk. When a row's room (at least
    k + 16) is full, all candidates but the k largest are dropped, and the bound rises to the smallest of these.
    """
    rows, n = pre.shape
    room = columns.shape[1]
    whole = n - n % _BLOCK
    stop = start + n
    of_columns, of_bias = (scale[0, start:stop], scale[1, start:stop], scale[2, start:stop]), bias[start:stop]
    for chunk in prange(chunks):
        for r in range(rows * chunk // chunks, rows * (chunk + 1) // chunks):
            row_columns, row_values = columns[r], values[r]
            keys = _keys(pre[r], of_columns, of_bias, factor[r], written[chunk, :n])
            bound, count = bounds[r], counts[r]
            if start == 0:
                bound = max(bound, _first_bound(keys, k, maxima[chunk], maxima_bits[chunk]))
            for first in range(0, whole, _BLOCK):
                fetch_line(pre[r], n + first)  # of the next row
                hits = _exceeding(keys, first, bound)
                if hits and count + _BLOCK > room:
                    bound = _prune(row_columns, row_values, bits[r], count, k)
                    count = k
                    hits = _exceeding(keys, first, bound)
                count = _append(hits, first, start, keys, row_columns, row_values, count)
            if whole < n:
                if count + _BLOCK > room:
                    bound = _prune(row_columns, row_values, bits[r], count, k)
                    count = k
                for j in range(whole, n):
                    if keys[j] > bound:
                        row_columns[count] = start + j
                        row_values[count] = keys[j]
                        count += 1
            bounds[r], counts[r] = bound, count


@parallel
def settle_largest(
    k: int, columns: np.ndarray, values: np.ndarray, bits: np.ndarray, counts: np.ndarray, bounds: np.ndarray
) -> None:
    """Reduce each row to at most k candidates, and set its bound to the smallest of them, or just below."""
    for r in prange(len(columns)):
        if counts[r] > k:
            bounds[r] = _prune(columns[r], values[r], bits[r], counts[r], k)
            counts[r] = k


@parallel
def push_above(
    pre: np.ndarray,
    scale: np.ndarray,
    bias: np.ndarray,
    factor: np.ndarray,
    bounds: np.ndarray,
    start: int,
    n_entries: int,
    columns: np.ndarray,
    values: np.ndarray,
    starts: np.ndarray,
    counts: np.ndarray,
    written: np.ndarray,
) -> int:
    """Append the entries of a tile that exceed their column's bound to the ``n_entries`` earlier ones; return the new
    number of entries.

    Row r gets ``counts[r]`` entries, in column order, from ``starts[r]`` on in ``columns`` and ``values``, which have
    room for a whole tile. ``written`` has room for one row per chunk.
    """
    rows, n = pre.shape
    chunks = len(written)
    whole = n - n % _BLOCK
    stop = start + n
    of_columns, of_bias = (scale[0, start:stop], scale[1, start:stop], scale[2, start:stop]), bias[start:stop]
    least = bounds[start:stop]
    for chunk in prange(chunks):
        at = n_entries + rows * chunk // chunks * n
        for r in range(rows * chunk // chunks, rows * (chunk + 1) // chunks):
            row = _values(pre[r], of_columns, of_bias, factor[r], written[chunk, :n])
            starts[r] = at
            for first in range(0, whole, _BLOCK):
                fetch_line(pre[r], n + first)  # of the next row
                hits = _exceeding(row, first, least)
                at = _append(hits, first, start, row, columns, values, at)
            for j in range(whole, n):
                if row[j] > least[j]:
                    columns[at] = start + j
                    values[at] = row[j]
                    at += 1
            counts[r] = at - starts[r]
    # close the gaps between chunks, which reserved room for all of their entries
    for r in range(rows):
        for i in range(counts[r]):
            columns[n_entries + i] = columns[starts[r] + i]
            values[n_entries + i] = values[starts[r] + i]
        starts[r] = n_entries
        n_entries += counts[r]
    return n_entries


@parallel
def narrow(
    offsets: np.ndarray,
    columns: np.ndarray,
    values: np.ndarray,
    to_columns: np.ndarray,
    to_values: np.ndarray,
    bits: np.ndarray,
    counts: np.ndarray,
    k: int,
) -> None:
    """Write the positive ones of each row's k largest entries, from the row's offset on, and their ``counts``.

    ``bits`` are ``to_values`` viewed as integers.
    """
    for r in prange(len(offsets) - 1):
        start, stop = offsets[r], offsets[r + 1]
        count: Any = 0
        for i in range(start, stop):
            to_columns[start + count] = columns[i]
            to_values[start + count] = values[i]
            count += np.int64(values[i] > 0)
        if count > k:
            _prune(to_columns[start:stop], to_values[start:stop], bits[start:stop], count, k)
            count = k
        counts[r] = count
