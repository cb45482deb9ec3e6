"""Sparse kernels on the CPU for many entries: sums stay in vector registers, and their operands in a near cache.

The results equal `sdlcore.sparse.kernels.cpu`'s, up to the order of additions. Rows are cut into pieces of `PIECE`
bytes. A tile contains the pieces of all rows at one position, one after the other. The tile stays in a near cache while
everything at that position is summed. An ordinary numba loop loads and stores a sum for every few rows that it adds;
here a piece of a sum stays in registers for any number of rows. numba has no vector type, so the innermost loop is
built from LLVM instructions.

All these loops are in one file, because numba recompiles a loop when its own file changes, and ignores changes in other
files.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import prange
from numba.core import cgutils, types
from numba.extending import intrinsic

from sdlcore.sparse.kernels.cpu import parallel, serial

PIECE = 512
"""Bytes of a piece of a row. The tile of a batch of 1024 fills half of a second-level cache."""
AHEAD = 8
"""Pieces are prefetched this number of rows ahead. Processors see no access pattern in pieces of rows, so each piece
would otherwise wait for main memory."""
SOON = 4
"""`nested_errors` prefetches pieces this number of entries ahead."""
_VECTOR = 64
"""Bytes of the widest registers; on other processors LLVM uses several registers for one."""
_VECTORS = PIECE // _VECTOR
_FUSED = ("contract",)
_INDEX, _LANE = ir.IntType(64), ir.IntType(32)


class _Body:
    """Emits LLVM vector code for one number type."""

    def __init__(self, context: Any, builder: Any, dtype: Any) -> None:
        self.context, self.builder = context, builder
        self.bytes = dtype.bitwidth // 8
        self.lanes = _VECTOR // self.bytes
        self.type = ir.VectorType(context.get_value_type(dtype), self.lanes)
        self.zero = ir.Constant(self.type, None)

    def array(self, array_type: Any, value: Any) -> Any:
        return cgutils.create_struct_proxy(array_type)(self.context, self.builder, value)

    def piece(self, start: Any, number: int) -> Any:
        """Return a pointer to vector ``number`` after ``start``."""
        return self.builder.gep(self.builder.bitcast(start, self.type.as_pointer()), [_INDEX(number)])

    def load(self, start: Any, number: int) -> Any:
        return self.builder.load(self.piece(start, number), align=self.bytes)

    def spread(self, number: Any) -> Any:
        """Return a number in all lanes."""
        one = self.builder.insert_element(ir.Constant(self.type, ir.Undefined), number, _LANE(0))
        return self._shuffle(one, [0] * self.lanes)

    def add_product(self, first: Any, second: Any, to: Any) -> Any:
        return self.builder.fadd(self.builder.fmul(first, second, flags=_FUSED), to, flags=_FUSED)

    def fetch(self, start: Any, to_write: bool, lines: int = _VECTORS) -> None:
        """Prefetch a piece that will soon be needed; an address outside our memory has no effect."""
        pointer = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer, _LANE, _LANE, _LANE])
        fetch = cgutils.get_or_insert_function(self.builder.module, kind, "llvm.prefetch.p0")
        for k in range(lines):
            line = self.builder.bitcast(self.piece(start, k), pointer)
            self.builder.call(fetch, [line, _LANE(int(to_write)), _LANE(3), _LANE(1)])

    def total(self, vector: Any) -> Any:
        """Return the sum of all lanes, by halves."""
        lanes = self.lanes
        while lanes > 1:
            lanes //= 2
            low, high = self._shuffle(vector, range(lanes)), self._shuffle(vector, range(lanes, 2 * lanes))
            vector = self.builder.fadd(low, high)
        return self.builder.extract_element(vector, _LANE(0))

    def _shuffle(self, vector: Any, lanes: Any) -> Any:
        return self.builder.shuffle_vector(vector, vector, ir.Constant(ir.VectorType(_LANE, len(lanes)), list(lanes)))


def _through(sums_rows: bool, multiplies: bool) -> Callable[..., Any]:
    """Return an intrinsic that reads the rows of some entries once, to sum them, multiply them, or both."""

    @intrinsic
    def through(typing: Any, tile: Any, rows: Any, values: Any, to: Any, w: Any, products: Any, ahead: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            body = _Body(context, builder, tile.dtype)
            *arrays, ahead_by = arguments
            views = [body.array(of, value) for of, value in zip(signature.args, arrays, strict=False)]
            tile_at, rows_at, values_at, to_at, w_at, products_at = (each.data for each in views)
            numbers = range(_VECTORS)
            factors = [body.load(w_at, k) for k in numbers] if multiplies else []
            if multiplies:
                body.fetch(builder.gep(w_at, [ahead_by]), to_write=False)
            if sums_rows:
                body.fetch(builder.gep(to_at, [ahead_by]), to_write=True)
            # stack variables, which LLVM keeps in registers
            sums = [cgutils.alloca_once_value(builder, body.load(to_at, k)) for k in numbers if sums_rows]
            with cgutils.for_range(builder, builder.extract_value(views[1].shape, 0)) as loop:
                row = builder.sext(builder.load(builder.gep(rows_at, [loop.index])), _INDEX)
                start = builder.gep(tile_at, [builder.mul(row, _INDEX(_VECTORS * body.lanes))])
                value = body.spread(builder.load(builder.gep(values_at, [loop.index]))) if sums_rows else None
                product = body.zero
                for k in numbers:
                    piece = body.load(start, k)
                    if sums_rows:
                        builder.store(body.add_product(value, piece, builder.load(sums[k])), sums[k])
                    if multiplies:
                        product = body.add_product(factors[k], piece, product)
                if multiplies:
                    at = builder.gep(products_at, [loop.index])
                    builder.store(builder.fadd(builder.load(at), body.total(product)), at)
            square = body.zero
            for k, each in enumerate(sums):
                done = builder.load(each)
                builder.store(done, body.piece(to_at, k), align=body.bytes)
                square = body.add_product(done, done, square)
            return body.total(square)

        return tile.dtype(tile, rows, values, to, w, products, types.intp), code

    return through


def _fetching(lines: int) -> Callable[..., Any]:
    @intrinsic
    def fetch(typing: Any, row: Any, ahead: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            body = _Body(context, builder, row.dtype)
            start = builder.gep(body.array(signature.args[0], arguments[0]).data, [arguments[1]])
            body.fetch(start, to_write=False, lines=lines)
            return context.get_dummy_value()

        return types.void(row, types.intp), code

    return fetch


fetch_piece = _fetching(_VECTORS)
"""``fetch_piece(row, ahead)`` prefetches the piece that starts ``ahead`` numbers after the row's start."""
fetch_line = _fetching(1)
"""Like `fetch_piece`, but prefetches one cache line, as long as the widest registers."""
add_rows = _through(sums_rows=True, multiplies=False)
"""``add_rows(tile, rows, values, to, w, products, ahead)``: to += sum over i of values[i] tile[rows[i]].

Returns to . to, and prefetches the pieces ``ahead`` numbers after ``to`` and ``w``. ``tile`` is flat, ``rows`` int32,
``to`` and ``w`` one piece each. ``w`` and ``products`` are not used.
"""
multiply_rows = _through(sums_rows=False, multiplies=True)
"""With the arguments of `add_rows`: products[i] += w . tile[rows[i]]. ``values`` and ``to`` are not used."""
add_and_multiply_rows = _through(sums_rows=True, multiplies=True)
"""`add_rows` and `multiply_rows` in one pass."""


@serial
def _piece(row: np.ndarray, at: int, spare: np.ndarray) -> np.ndarray:
    """Return a piece of a row; if the row ends within the piece, return a copy in ``spare``, padded with zeros."""
    remaining = len(row) - at
    if remaining >= len(spare):
        return row[at : at + len(spare)]
    spare[:remaining] = row[at:]
    return spare


@serial
def _put(row: np.ndarray, at: int, piece: np.ndarray) -> None:
    """Write a piece back to its row if the piece is a copy."""
    remaining = len(row) - at
    if remaining < len(piece):
        row[at:] = piece[:remaining]


@serial
def _gather(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    out = np.empty(len(places), values.dtype)
    for i in range(len(places)):
        out[i] = values[places[i]]
    return out


@parallel
def gather_sum(
    offsets: np.ndarray,
    columns: np.ndarray,
    values: np.ndarray,
    W: np.ndarray,
    tiles: np.ndarray,
    parts: int,
    in_tile: np.ndarray,
    edges: np.ndarray,
    out: np.ndarray,
) -> None:
    """out[r] = sum over the entries i of row r of values[i] W[columns[i]].

    A tile contains the pieces of some rows of W. A task sums one piece position for one of the ``parts`` of out's rows.
    A dictionary is larger than any cache, so with many entries per row, reading its rows in entry order takes several
    times as long as adding them. ``tiles`` has room for one tile per position and part, ``in_tile`` for all columns,
    and ``edges`` for the begin of each row's entries in each tile, and their end.
    """
    n, d = len(offsets) - 1, W.shape[1]
    tasks, at_once, width = tiles.shape
    blocks = edges.shape[1] - 1
    for r in prange(n):
        mine = columns[offsets[r] : offsets[r + 1]]
        for block in range(blocks + 1):
            edges[r, block] = offsets[r] + np.searchsorted(mine, block * at_once)
        in_tile[offsets[r] : offsets[r + 1]] = mine % np.int32(at_once)
    for task in prange(tasks):
        at, part = task // parts * width, task % parts
        tile, flat = tiles[task], tiles[task].reshape(-1)
        spare, unused = np.zeros(width, W.dtype), np.zeros(width, W.dtype)
        for block in range(blocks):
            start = block * at_once
            for i in range(min(at_once, len(W) - start)):
                fetch_piece(W[start + i, at:], AHEAD * d)
                tile[i] = _piece(W[start + i], at, spare)
            for r in range(n * part // parts, n * (part + 1) // parts):
                i, j = edges[r, block], edges[r, block + 1]
                to = _piece(out[r], at, spare)
                if block == 0:
                    to[:] = 0
                add_rows(flat, in_tile[i:j], values[i:j], to, unused, unused, AHEAD * d)
                _put(out[r], at, to)


@parallel
def dots(
    column_offsets: np.ndarray,
    rows: np.ndarray,
    order: np.ndarray,
    W: np.ndarray,
    tiles: np.ndarray,
    edges: np.ndarray,
    values: np.ndarray,
) -> None:
    """values[order[i]] = W[c] . x[rows[i]] for the entries i of each column c, where ``tiles`` contains x.

    Each chunk processes the columns between two successive ``edges``.
    """
    width = tiles.shape[2]
    ahead = AHEAD * W.shape[1]
    for chunk in prange(len(edges) - 1):
        first, last = edges[chunk], edges[chunk + 1]
        base, end = column_offsets[first], column_offsets[last]
        products = np.zeros(end - base, W.dtype)
        spare, unused = np.zeros(width, W.dtype), np.zeros(width, W.dtype)
        for t in range(len(tiles)):
            tile = tiles[t].reshape(-1)
            for c in range(first, last):
                i, j = column_offsets[c], column_offsets[c + 1]
                w = _piece(W[c], t * width, spare)
                multiply_rows(tile, rows[i:j], unused, unused, w, products[i - base : j - base], ahead)
        for i in range(base, end):
            values[order[i]] = products[i - base]


@parallel
def scatter_sum(
    column_offsets: np.ndarray,
    rows: np.ndarray,
    order: np.ndarray,
    values: np.ndarray,
    tiles: np.ndarray,
    edges: np.ndarray,
    out: np.ndarray,
    squares: np.ndarray,
) -> None:
    """out[c] = sum over the entries i of column c of values[order[i]] x[rows[i]], and squares[c] = out[c] . out[c].

    Tiles and edges are as in `dots`.
    """
    width = tiles.shape[2]
    ahead = AHEAD * out.shape[1]
    for chunk in prange(len(edges) - 1):
        first, last = edges[chunk], edges[chunk + 1]
        base = column_offsets[first]
        weights = _gather(values, order[base : column_offsets[last]])
        spare, unused = np.zeros(width, out.dtype), np.zeros(width, out.dtype)
        squares[first:last] = 0
        for t in range(len(tiles)):
            tile = tiles[t].reshape(-1)
            for c in range(first, last):
                i, j = column_offsets[c], column_offsets[c + 1]
                to = _piece(out[c], t * width, spare)
                to[:] = 0
                mine = weights[i - base : j - base]
                squares[c] += add_rows(tile, rows[i:j], mine, to, unused, unused, ahead)
                _put(out[c], t * width, to)


@parallel
def decode_backward(
    column_offsets: np.ndarray,
    rows: np.ndarray,
    order: np.ndarray,
    values: np.ndarray,
    W: np.ndarray,
    tiles: np.ndarray,
    edges: np.ndarray,
    to_values: np.ndarray,
    out: np.ndarray,
    squares: np.ndarray,
    products: np.ndarray,
) -> None:
    """Compute `dots` and `scatter_sum` of one pattern, and products[c] = out[c] . W[c]."""
    width = tiles.shape[2]
    ahead = AHEAD * W.shape[1]
    for chunk in prange(len(edges) - 1):
        first, last = edges[chunk], edges[chunk + 1]
        base, end = column_offsets[first], column_offsets[last]
        weights = _gather(values, order[base:end])
        slopes = np.zeros(end - base, W.dtype)
        spare_to, spare_w = np.zeros(width, W.dtype), np.zeros(width, W.dtype)
        squares[first:last] = 0
        for t in range(len(tiles)):
            tile = tiles[t].reshape(-1)
            for c in range(first, last):
                i, j = column_offsets[c], column_offsets[c + 1]
                to, w = _piece(out[c], t * width, spare_to), _piece(W[c], t * width, spare_w)
                to[:] = 0
                mine, theirs = weights[i - base : j - base], slopes[i - base : j - base]
                squares[c] += add_and_multiply_rows(tile, rows[i:j], mine, to, w, theirs, ahead)
                _put(out[c], t * width, to)
        for c in range(first, last):
            product = W.dtype.type(0)
            for i in range(column_offsets[c] - base, column_offsets[c + 1] - base):
                to_values[order[base + i]] = slopes[i]
                product += weights[i] * slopes[i]
            products[c] = product


@parallel
def nested_errors(
    offsets: np.ndarray,
    columns: np.ndarray,
    values: np.ndarray,
    W: np.ndarray,
    residual: np.ndarray,
    groups: int,
    errors: np.ndarray,
    to_values: np.ndarray,
    to_W: np.ndarray,
    to_sample: np.ndarray,
) -> None:
    """Sum |x - p_g|^2 over samples x and groups g, where p_g decodes the entries of all groups up to g.

    ``residual`` is x - p_g of the last group. From there, the loop takes the entries out of p_g again, last group
    first. The sum S of the residuals so far determines all gradients, which are written without their factor 2. For
    an entry with the row w of W, the code's gradient is -S . w, and the row's minus the code times S. The gradient of x
    is S of all groups.

    A task computes one piece position of all rows. ``errors`` (positions) and ``to_values`` (positions x N) are to be
    summed over positions.
    """
    d, width = W.shape[1], PIECE // W.itemsize
    zero = W.dtype.type(0)
    for task in prange(len(errors)):
        at, end = task * width, min(d, (task + 1) * width)
        rest, total = np.empty(end - at, W.dtype), np.empty(end - at, W.dtype)
        to_W[:, at:end] = 0
        error = 0.0
        for b in range(len(residual)):
            rest[:] = residual[b, at:end]
            total[:] = 0
            for g in range((b + 1) * groups - 1, b * groups - 1, -1):
                square = zero
                for j in range(len(rest)):
                    total[j] += rest[j]
                    square += rest[j] * rest[j]
                error += square
                for i in range(offsets[g + 1] - 1, offsets[g] - 1, -1):
                    soon = columns[max(i - SOON, 0)]
                    fetch_piece(W[soon, at:], 0)
                    fetch_piece(to_W[soon, at:], 0)
                    w, to, value = W[columns[i], at:end], to_W[columns[i], at:end], values[i]
                    slope = zero
                    for j in range(len(rest)):
                        slope -= total[j] * w[j]
                        to[j] -= value * total[j]
                        rest[j] += value * w[j]
                    to_values[task, i] = slope
            to_sample[b, at:end] = total
        errors[task] = error
