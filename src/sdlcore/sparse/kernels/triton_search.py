"""Search the product W_E x_p + b_E on a GPU while it is computed, without storing a B x n_q matrix.

The search goes through the latents slice by slice. Tiles of the product stay in registers. Only entries that may belong
to the result leave the registers; each is appended to the list of its row, which has room for the whole slice and so
cannot overflow. Each entry is stored as an integer key that grows with its value and, for equal values, with smaller
columns. So the k largest entries of a row do not depend on the order in which entries arrive.
"""

from collections.abc import Iterator

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional

from sdlcore.sparse.kernels.interface import Product, SparseRows

_ENTRIES = 1 << 26
"""Largest number of product entries in a slice; the lists take 8 bytes for each."""
_LEAST, _GROWTH = 1024, 3
"""Latents of the first slice, and the growth limit of later slices as a multiple of all before. In large batches, no
slice is narrower than the first."""
_READ = 512
"""Keys of the lists that a program reads at once."""


@triton.jit
def _collect(
    x,
    W,
    b,
    bounds,
    keys,
    counts,
    n_rows,
    n_inner,
    first,
    n_columns,
    room,
    BY_ROW: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    INNER: tl.constexpr,
    GROUP: tl.constexpr,
):
    """Append the keys of the entries of x W^T + b that exceed a bound to the lists of their rows.

    Bounds belong to columns. With BY_ROW they belong to rows, and only entries known to be at most the bound are
    dropped: NaN entries pass, and all entries of a row whose bound is NaN.
    """
    # a group of row tiles shares column tiles, which stay in the second-level cache
    tiles_down, tiles_across = tl.cdiv(n_rows, ROWS), tl.cdiv(n_columns, COLUMNS)
    program, in_group = tl.program_id(0), GROUP * tiles_across
    down = program // in_group * GROUP
    high = tl.minimum(tiles_down - down, GROUP)
    rows = (down + program % in_group % high) * ROWS + tl.arange(0, ROWS)
    columns = program % in_group // high * COLUMNS + tl.arange(0, COLUMNS)
    inner = tl.arange(0, INNER)
    # rows and columns beyond the last repeat the last, and are not stored
    x_at = x + tl.minimum(rows, n_rows - 1).to(tl.int64)[:, None] * n_inner + inner[None, :]
    W_at = W + tl.minimum(columns, n_columns - 1).to(tl.int64)[None, :] * n_inner + inner[:, None]
    product = tl.zeros((ROWS, COLUMNS), tl.float32)
    for start in range(0, n_inner, INNER):
        inside = inner < n_inner - start
        x_tile = tl.load(x_at + start, mask=inside[None, :], other=0.0)
        W_tile = tl.load(W_at + start, mask=inside[:, None], other=0.0)
        product = tl.dot(x_tile, W_tile, product, input_precision="ieee")
    row_mask, column_mask = rows < n_rows, columns < n_columns
    product += tl.load(b + columns, mask=column_mask, other=0.0)[None, :]
    if BY_ROW:
        passes = ~(product <= tl.load(bounds + rows, mask=row_mask, other=0.0)[:, None])
    else:
        passes = product > tl.load(bounds + columns, mask=column_mask, other=0.0)[None, :]
    passes = (passes & row_mask[:, None] & column_mask[None, :]).to(tl.int32)
    number = tl.sum(passes, 1)
    begin = tl.atomic_add(counts + rows, number, mask=number > 0, sem="relaxed")
    places = begin[:, None] + tl.cumsum(passes, 1) - 1
    # bit patterns of floats sort like integers, except that negative ones are reversed
    bits = product.to(tl.int32, bitcast=True)
    ordered = tl.where(product != product, 0x7FFFFFFF, bits ^ ((bits >> 31) & 0x7FFFFFFF))
    key = (ordered.to(tl.int64) << 32) | (0xFFFFFFFF - (first + columns).to(tl.int64))[None, :]
    tl.store(keys + rows.to(tl.int64)[:, None] * room + places, key, mask=passes > 0)


@triton.jit
def _settle(keys, counts, bounds, n_rows, room, k, ROWS: tl.constexpr, WIDTH: tl.constexpr):
    """Keep the k largest keys in the lists of some rows, and set each row's bound to the value of the smallest."""
    rows, place = tl.program_id(0) * ROWS + tl.arange(0, ROWS), tl.arange(0, WIDTH)
    n = tl.load(counts + rows, mask=rows < n_rows, other=0)
    most = tl.max(n)
    # a list of k keys without additions needs no work
    if most > k:
        lists = keys + rows.to(tl.int64)[:, None] * room + place[None, :]
        # bit by bit, find the largest number that at least k keys reach: keys differ, so it is the smallest key to keep
        least = tl.full((ROWS,), -0x8000000000000000, tl.int64)
        for bit in range(0, 64):
            more = least ^ (tl.full((ROWS,), 1, tl.int64) << (63 - bit))
            number = tl.zeros((ROWS,), tl.int32)
            for start in range(0, most, WIDTH):
                entry_mask = start + place[None, :] < n[:, None]
                key = tl.load(lists + start, mask=entry_mask, other=-0x8000000000000000)
                number += tl.sum((key >= more[:, None]).to(tl.int32), 1)
            least = tl.where(number >= k, more, least)
        n_kept = tl.zeros((ROWS,), tl.int32)
        for start in range(0, most, WIDTH):
            entry_mask = start + place[None, :] < n[:, None]
            key = tl.load(lists + start, mask=entry_mask, other=-0x8000000000000000)
            stays = (entry_mask & (key >= least[:, None])).to(tl.int32)
            # move keys towards the front, to places that have been read
            to = n_kept[:, None] + tl.cumsum(stays, 1) - 1 - place[None, :]
            tl.store(lists + to, key, mask=stays > 0)
            n_kept += tl.sum(stays, 1)
        tl.store(counts + rows, n_kept, mask=rows < n_rows)
        ordered = (least >> 32).to(tl.int32)
        bits = ordered ^ ((ordered >> 31) & 0x7FFFFFFF)
        tl.store(bounds + rows, bits.to(tl.float32, bitcast=True), mask=n_kept == k)


def largest(product: Product, k: int) -> SparseRows:
    """Return the k largest entries of each row. Of equal entries at the edge, the smaller columns are kept.

    The host does not wait for the GPU.
    """
    n_rows, n_q = len(product.x), len(product.W)
    if k > n_q:
        raise ValueError(f"cannot select the {k} largest of {n_q} entries; lower k")
    keys = product.b.new_empty((n_rows, _width(product) + k), dtype=torch.int64)
    counts = product.b.new_zeros(n_rows, dtype=torch.int32)
    bounds = product.b.new_full((n_rows,), torch.nan)
    # most lists hold k earlier entries and fewer new ones
    at_once = min(256, max(64, triton.next_power_of_2(2 * k)))
    sizes = {"ROWS": _READ // at_once, "WIDTH": at_once, "num_warps": 4}
    for _ in _collected(product, bounds, keys, counts, by_row=True):
        _settle[(triton.cdiv(n_rows, sizes["ROWS"]),)](keys, counts, bounds, n_rows, keys.shape[1], k, **sizes)
    return rows_of(keys[:, :k])


def above(product: Product, bounds: Tensor) -> SparseRows:
    """Return the entries that exceed their column's bound.

    The host waits for the GPU in each slice, to learn the number of entries.
    """
    n_rows, n_q = len(product.x), len(product.W)
    keys = product.b.new_empty((n_rows, _width(product)), dtype=torch.int64)
    counts = product.b.new_zeros(n_rows, dtype=torch.int32)
    bounds = bounds.to(product.b.dtype).contiguous()
    rows, key_parts = [], []
    for _ in _collected(product, bounds, keys, counts, by_row=False):
        most = int(counts.max())
        places = torch.arange(most, device=keys.device) < counts[:, None]
        rows.append(places.nonzero()[:, 0])
        key_parts.append(keys[:, :most][places])
        counts.zero_()
    row_N = torch.cat(rows)
    columns, values = _unpacked(torch.cat(key_parts))
    order = (row_N * n_q + columns).argsort()
    offsets = functional.pad(torch.bincount(row_N, minlength=n_rows).cumsum(0), (1, 0))
    return SparseRows(offsets, columns[order], values[order])


def _width(product: Product) -> int:
    """Return the largest number of latents in a slice."""
    return min(len(product.W), max(_LEAST, _ENTRIES // max(1, len(product.x))))


def _collected(product: Product, bounds: Tensor, keys: Tensor, counts: Tensor, by_row: bool) -> Iterator[None]:
    """Collect entries slice by slice; yield when the entries of a slice are in the lists."""
    x, dtype = product.x.to(product.dtype).contiguous(), product.dtype
    n_rows, n_inner = x.shape
    # sized by the registers and shared memory of cards from compute capability 8.0 on
    sizes = {"ROWS": 128, "COLUMNS": 128, "INNER": 32 if dtype == torch.float32 else 64, "GROUP": 8}
    first = 0
    while first < len(product.W):
        # the first slices are narrow: bounds come from earlier slices, and a wide early slice would pass too much
        part = slice(first, first + min(_width(product), max(_LEAST, _GROWTH * first)))
        W, b = product.W[part].to(dtype).contiguous(), product.b[part].contiguous()
        tiles = triton.cdiv(n_rows, sizes["ROWS"]) * triton.cdiv(len(W), sizes["COLUMNS"])
        lists = bounds if by_row else bounds[part], keys, counts, n_rows, n_inner, first, len(W), keys.shape[1]
        _collect[(tiles,)](x, W, b, *lists, BY_ROW=by_row, **sizes, num_warps=8, num_stages=3)
        yield
        first = part.stop


def rows_of(keys: Tensor) -> SparseRows:
    """Return the entries of keys (B x k) as sparse rows with k entries each."""
    columns, values = _unpacked(keys)
    columns, order = columns.sort(dim=1)
    offsets = torch.arange(len(keys) + 1, device=keys.device) * keys.shape[1]
    return SparseRows(offsets, columns.flatten(), values.gather(1, order).flatten())


def _unpacked(keys: Tensor) -> tuple[Tensor, Tensor]:
    """Return the columns (int32) and values of keys."""
    ordered = (keys >> 32).int()
    bits = ordered ^ ((ordered >> 31) & 0x7FFFFFFF)
    return (0xFFFFFFFF - (keys & 0xFFFFFFFF)).int(), bits.view(torch.float32)
