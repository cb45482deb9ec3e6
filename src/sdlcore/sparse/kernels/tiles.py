"""Tiled search over pre-activations on a CPU; the B x n_q matrix never exists.

Every search computes the dense product again, tile by tile, and only one tile is in memory at a time.
"""

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sdlcore.sparse.kernels import int8
from sdlcore.sparse.kernels.calling import array, loops
from sdlcore.sparse.kernels.interface import VANISHED, Product, SparseRows
from sdlcore.sparse.kernels.workspace import Workspace

TILE = 2000
"""Latents per tile, twice as many in bfloat16: few enough that a CPU's caches hold the tile while it is searched, and
enough to keep the CPU busy."""
MANY = 4 * TILE
"""Searches start from guessed bounds if there are at least this many latents."""
CAUTION = 0.9
"""Factor on the guessed bound: the previous search's smallest final bound, divided by the sample's norm."""
ROOM = 2
"""Factor on k: number of candidates that are stored for each row during the search."""


def largest(product: Product, k: int, workspace: Workspace, least: Tensor | None = None) -> SparseRows:
    """Return the k largest positive entries of each row of a product, or all of them if fewer are positive.

    If ``least`` is given, entries must exceed their row's element of it.

    If several entries equal the k-th largest, the first columns win. If the product is computed in int8,
    the search ignores entries below a bound that the previous search left in the workspace. Rows with fewer than k
    entries above the bound are searched again without it. Integer products are exact, so the bound changes no bit.
    """
    if least is not None:
        return _search(product, k, workspace, least.clone())
    if product.dtype != torch.int8 or len(product.W) < MANY:
        return _search(product, k, workspace)
    kind, norms = (k, product.upper is None), product.x.norm(dim=1)
    begun = workspace.begin.pop(kind, 0.0)
    bounds = begun * norms
    entries = _search(product, k, workspace, bounds)
    short = (torch.diff(entries.offsets) < k).nonzero().squeeze(1)
    if not len(short):
        workspace.begin[kind] = CAUTION * float((bounds / norms.clamp(min=VANISHED)).min())
    elif begun:
        entries = replaced(entries, short, _search(product._replace(x=product.x[short]), k, Workspace()))
    return entries


def of_both_signs(product: Product, k: int, workspace: Workspace) -> tuple[SparseRows, SparseRows]:
    """Return `largest` of a product and of its negative, and compute the product once."""
    tiles = Tiles(product, workspace)
    above = _Candidates(tiles, product.b, k, workspace)
    below = _Candidates(tiles, -product.b, k, workspace)
    for start, tile in tiles:
        above.push(start, tile)
        below.push(start, tile.neg_())
    return above.settle(), below.settle()


def _search(product: Product, k: int, workspace: Workspace, bounds: Tensor | None = None) -> SparseRows:
    """Return the k largest positive entries of each row above its bound, and raise the bound to the smallest one."""
    tiles = Tiles(product, workspace)
    candidates = _Candidates(tiles, product.b, k, workspace, bounds)
    for start, tile in tiles:
        candidates.push(start, tile)
    return candidates.settle()


class _Candidates:
    """The largest positive entries of each row, among the tiles that were pushed.

    Parameters
    ----------
    tiles
        The tiles of a product.
    bias
        To be added to each column; bfloat16 tiles include it already.
    k
        Number of entries of a row.
    bounds
        Entries of a row must exceed its bound, which rises to the smallest entry; None for zero.
    """

    def __init__(
        self, tiles: "Tiles", bias: Tensor, k: int, workspace: Workspace, bounds: Tensor | None = None
    ) -> None:
        self._workspace, self._k, self._room, self._dtype = workspace, k, ROOM * k + 16, bias.dtype
        n_rows, width, threads = len(tiles.product.x), _width(tiles.product), torch.get_num_threads()
        # bfloat16 values are compared as they are and widened at the end
        dtype = torch.bfloat16 if tiles.product.dtype == torch.bfloat16 else bias.dtype
        self._columns = workspace.take((n_rows, self._room), torch.int32)
        self._values = workspace.take((n_rows, self._room), dtype)
        self._counts = torch.zeros(n_rows, dtype=torch.int64)
        as_integers = {torch.float64: torch.int64, torch.bfloat16: torch.int16}.get(dtype, torch.int32)
        self._keys = self._values.view(torch.int16) if dtype == torch.bfloat16 else self._values
        least = torch.zeros(n_rows, dtype=self._keys.dtype) if bounds is None else bounds
        state = (self._columns, self._keys, self._values.view(as_integers), self._counts, least)
        maxima = torch.empty(threads, max(1, width // 8), dtype=self._keys.dtype)
        written = torch.empty(threads, width, dtype=bias.dtype)
        self._of_product = [array(each) for each in (tiles.of_columns, bias, tiles.of_rows)]
        self._state = [array(each) for each in state]
        self._scratch = [array(each) for each in (maxima, maxima.view(as_integers), written)]

    def push(self, start: int, tile: Tensor) -> None:
        """Search a tile whose first column is ``start``."""
        inputs = _bits(tile), *self._of_product, start, self._k, torch.get_num_threads()
        loops("cpu_select").push_largest(*inputs, *self._state, *self._scratch)

    def settle(self) -> SparseRows:
        """Return the entries, and give the buffers back."""
        loops("cpu_select").settle_largest(self._k, *self._state)
        n_rows = len(self._counts)
        starts = torch.arange(n_rows) * self._room
        offsets, columns, keys = gathered(starts, self._counts, self._columns.view(-1), self._keys.view(-1))
        self._workspace.give(self._columns)
        self._workspace.give(self._values)
        return SparseRows(offsets, columns, keys.view(self._values.dtype).to(self._dtype))


def above(product: Product, bounds: Tensor, workspace: Workspace) -> SparseRows:
    """Return the entries that exceed their column's bound."""
    cpu = loops("cpu_select")
    bounds = bounds.to(product.b.dtype)
    n_rows, width = len(product.x), _width(product)
    written = array(torch.empty(torch.get_num_threads(), width, dtype=bounds.dtype))
    starts, counts = torch.empty(2, -(-len(product.W) // width), n_rows, dtype=torch.int64)
    # most of this memory is never touched, so the system never provides it
    columns = workspace.take((2 * n_rows * width,), torch.int32)
    values = workspace.take((2 * n_rows * width,), bounds.dtype)
    tiles = Tiles(product, workspace)
    inputs, n_entries = [*tiles.arrays(), array(bounds)], 0
    for i, (start, tile) in enumerate(tiles):
        if n_entries + n_rows * width > len(columns):
            columns, values = (_doubled(each, workspace) for each in (columns, values))
        into = [array(tensor) for tensor in (columns, values, starts[i], counts[i])]
        n_entries = cpu.push_above(_bits(tile), *inputs, start, n_entries, *into, written)
    # reorder from tile and row to row and tile
    offsets, few_columns, few_values = gathered(starts.T.flatten(), counts.T.flatten(), columns, values)
    workspace.give(columns)
    workspace.give(values)
    return SparseRows(offsets[:: len(starts)].contiguous(), few_columns, few_values)


def _doubled(full: Tensor, workspace: Workspace) -> Tensor:
    """Return a buffer of twice the length with the same content, and give the old one back for later searches."""
    larger = workspace.take((2 * len(full),), full.dtype)
    larger[: len(full)] = full
    workspace.give(full)
    return larger


def narrow(entries: SparseRows, k: int) -> SparseRows:
    """Return the k largest positive entries of each row. Of equal entries at the edge, the first are kept."""
    offsets, columns, values = entries
    to_columns, to_values = torch.empty_like(columns), torch.empty_like(values)
    counts = torch.empty(len(offsets) - 1, dtype=torch.int64)
    bits = to_values.view(torch.int64 if values.dtype == torch.float64 else torch.int32)
    arrays = [array(tensor) for tensor in (offsets, columns, values, to_columns, to_values, bits, counts)]
    loops("cpu_select").narrow(*arrays, k)
    return gathered(offsets[:-1], counts, to_columns, to_values)


def exceeding(entries: SparseRows, bounds: Tensor) -> SparseRows:
    """Return the entries that exceed their column's bound."""
    offsets, columns, values = entries
    to_columns, to_values = torch.empty_like(columns), torch.empty_like(values)
    counts = torch.empty(len(offsets) - 1, dtype=torch.int64)
    arrays = [array(tensor) for tensor in (offsets, columns, values, bounds, to_columns, to_values, counts)]
    loops("cpu").exceeding(*arrays)
    return gathered(offsets[:-1], counts, to_columns, to_values)


def gathered(starts: Tensor, counts: Tensor, columns: Tensor, values: Tensor) -> SparseRows:
    """Return rows that start at ``starts`` and have ``counts`` entries, packed one after the other."""
    offsets = torch.nn.functional.pad(counts.cumsum(0), (1, 0))
    n = int(offsets[-1])
    few_columns, few_values = columns.new_empty(n), values.new_empty(n)
    arrays = [array(tensor) for tensor in (starts, counts, columns, values, offsets, few_columns, few_values)]
    loops("cpu").gather_rows(*arrays)
    return SparseRows(offsets, few_columns, few_values)


def replaced(entries: SparseRows, rows: Tensor, by: SparseRows) -> SparseRows:
    """Replace the entries of the given rows."""
    starts, counts = entries.offsets[:-1].clone(), torch.diff(entries.offsets)
    starts[rows], counts[rows] = len(entries.columns) + by.offsets[:-1], torch.diff(by.offsets)
    columns, values = (torch.cat(both) for both in zip(entries[1:], by[1:], strict=True))
    return gathered(starts, counts, columns, values)


class Factor(NamedTuple):
    """Rows of x or of W, converted for a product in some type."""

    rows: Tensor
    numbers: Tensor
    """For quantised rows (3 x rows): the step size, and upper bounds of the norms of the row and of its rounding error.
    Otherwise not meaningful."""


class Tiles:
    """Iterator over the tiles of a product of B rows; yields each tile's first column, and the tile (B x columns).

    Numbers of a tile are floating-point, or int32 if the factors were quantised. The next tile reuses the memory of
    this tile.

    Attributes
    ----------
    bias
        To be added to each column; bfloat16 tiles include it already.
    of_columns
        `Factor.numbers` of the columns.
    of_rows
        For int32 tiles: three numbers of each row (B x 3), to be multiplied by the columns' numbers. The first is the
        step size; the other two make the product an upper bound, or are zero.
    """

    def __init__(self, product: Product, workspace: Workspace) -> None:
        x, W, b, dtype, upper = product
        self.product, self._workspace = product, workspace
        self._samples, self._latents = _converted(x, dtype, workspace), _converted(W, dtype, workspace, b)
        self.bias, self.of_columns = b, self._latents.numbers
        self.of_rows = _of_rows(self._samples.numbers, x.shape[1], upper)

    def arrays(self) -> list[np.ndarray]:
        """Return the arguments that loops need for all tiles: scale, bias and factor."""
        return [array(each) for each in (self.of_columns, self.bias, self.of_rows)]

    def __iter__(self) -> Iterator[tuple[int, Tensor]]:
        x, W, _, dtype, _ = self.product
        workspace, samples, width = self._workspace, self._samples.rows, _width(self.product)
        by_one_dnn = dtype == torch.float32 and _one_dnn()
        for start in range(0, len(W), width):
            latents = self._latents.rows[start : start + width]
            if by_one_dnn:
                yield start, torch.ops.mkldnn._linear_pointwise(samples, latents, None, "none", [], "")
                continue
            of_type = torch.int32 if dtype == torch.int8 else dtype
            tile = workspace.take((len(x), len(latents)), of_type)
            if dtype == torch.int8:
                int8.multiply(samples, latents, tile)
            else:
                torch.mm(samples, latents.T, out=tile)
            yield start, tile
            workspace.give(tile)
        if dtype != W.dtype:
            workspace.give(samples)
            workspace.give(self._latents.rows)


def _bits(tile: Tensor) -> np.ndarray:
    return array(tile.view(torch.int16) if tile.dtype == torch.bfloat16 else tile)


def _width(product: Product) -> int:
    """Return the number of columns of a product's tiles; the last tile may have fewer."""
    return min(len(product.W), 2 * TILE if product.dtype == torch.bfloat16 else TILE)


def multiply(x: Tensor, W: Tensor) -> Tensor:
    """Return x W^T (rows of x by rows of W), by the fastest library for the device and type."""
    if x.device.type == "cpu" and x.dtype == torch.float32 and _one_dnn():
        product: Tensor = torch.ops.mkldnn._linear_pointwise(x, W, None, "none", [], "")
        return product
    return torch.mm(x, W.T)


@cache
def _one_dnn() -> bool:
    """Return whether to multiply with oneDNN, if 512-bit vectors exist. torch's default, MKL, uses 256 bits on
    processors of other makers than Intel, and takes twice the time."""
    is_available = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    return is_available and torch.backends.cpu.get_cpu_capability() == "AVX512"


def _of_rows(numbers: Tensor, n_p: int, upper: float | None) -> Tensor:
    """Return `Tiles.of_rows`. Adding |w| (|x - x'| + sums) + |w - w'| |x'| makes a product a bound of float32's."""
    steps, norms, lost = numbers
    if upper is None:
        return torch.stack([steps, torch.zeros_like(norms), torch.zeros_like(lost)], 1)
    return torch.stack([steps, lost + error_of_sums(n_p) * (norms + upper), norms + lost], 1)


def error_of_sums(n_p: int) -> float:
    """Return the largest float32 rounding error of sums of n_p products, and of norms, as a share of the norms."""
    return 4 * (n_p + 8) * 2.0**-24


def _converted(rows: Tensor, dtype: torch.dtype, workspace: Workspace, bias: Tensor | None = None) -> Factor:
    """Convert rows of x, or of W with their bias, to factors of the product.

    In bfloat16 the bias is part of the product, as the sum of two extra inputs that are one. Letting torch add it would
    take a tenth of the product's time.
    """
    nothing = rows.new_ones(3, len(rows))
    if dtype == rows.dtype:
        return Factor(rows, nothing)
    n_p = rows.shape[1]
    if dtype == torch.int8:
        converted = workspace.take((len(rows), n_p), dtype)
        return Factor(converted, quantise(rows, converted))
    converted = workspace.take((len(rows), n_p + 2), dtype)
    if dtype == torch.bfloat16 and rows.dtype == torch.float32:
        to_bfloat16(rows, rows.new_zeros(len(rows)) if bias is None else bias, converted)
    else:
        converted[:, :n_p] = rows
        if bias is not None:
            converted[:, n_p] = bias
            converted[:, n_p + 1] = bias - converted[:, n_p].to(bias.dtype)
    if bias is None:
        converted[:, n_p:] = 1
    return Factor(converted, nothing)


def to_bfloat16(x: Tensor, last: Tensor, out: Tensor) -> None:
    """Round rows of float32 to bfloat16; NaN may become a number.

    Two numbers are appended to each row, which add up to its ``last``: the second is the rounding error of the first.
    """
    loops("cpu_round").to_bfloat16(array(x).view(np.int32), array(last), array(out.view(torch.int16)))


def quantise(x: Tensor, out: Tensor) -> Tensor:
    """Quantise rows to int8 in ``out``, and return `Factor.numbers`."""
    numbers = torch.empty(3, len(x), dtype=torch.float32)
    loops("cpu_round").quantise(array(x), array(x).view(np.int32), array(out), *(array(each) for each in numbers))
    n_p = x.shape[1]
    numbers[1:] = (numbers[1:] + n_p**0.5 * VANISHED) * (1 + error_of_sums(n_p))
    return numbers
