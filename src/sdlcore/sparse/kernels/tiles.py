"""Tiled search over pre-activations on a CPU; the B x n_q matrix never exists.

Every search computes the dense product anew, tile by tile, and no more than a tile is ever in memory.
"""

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sdlcore.sparse.kernels import int8
from sdlcore.sparse.kernels.calling import array, loops, roundings, searches
from sdlcore.sparse.kernels.interface import VANISHED, Product, SparseRows
from sdlcore.sparse.kernels.workspace import Workspace

TILE = 2000
"""Latents whose pre-activations are computed at once, twice as many in bfloat16: few enough to be searched while they
are in a CPU's caches, and enough to keep it busy."""
MANY = 4 * TILE
"""Latents from which on it is worth its time to begin a search at bounds."""
CAUTION = 0.9
"""Where a search begins, as a share of the least bound, over the norm of its sample, that the one before ended at."""
ROOM = 2
"""Times k: candidates that a row has room for while its largest entries are looked for."""


def largest(product: Product, k: int, workspace: Workspace) -> SparseRows:
    """Return the k largest positive entries of each row. Of equal ones at the edge those of smaller column are kept.

    A search in int8 begins at bounds that the workspace's last one tells. Rows that turn out to have fewer than k
    entries above theirs are searched again: since products of integers are exact, what comes out has the same bits.
    """
    if product.dtype != torch.int8 or len(product.W) < MANY:
        return _search(product, k, workspace)
    kind, norms = (k, product.upper is None), product.x.norm(dim=1)
    begun = workspace.begin.pop(kind, 0.0)
    bounds = begun * norms
    found = _search(product, k, workspace, bounds)
    short = (torch.diff(found.offsets) < k).nonzero().squeeze(1)
    if not len(short):
        workspace.begin[kind] = CAUTION * float((bounds / norms.clamp(min=VANISHED)).min())
    elif begun:
        found = replaced(found, short, _search(product._replace(x=product.x[short]), k, Workspace()))
    return found


def _search(product: Product, k: int, workspace: Workspace, bounds: Tensor | None = None) -> SparseRows:
    """Return the k largest positive entries of each row that exceed its bound, which rises to the least of them."""
    cpu = searches()
    n_rows = len(product.x)
    # in bfloat16 values are compared as they are, and widened last
    dtype = torch.bfloat16 if product.dtype == torch.bfloat16 else product.b.dtype
    room, threads = ROOM * k + 16, torch.get_num_threads()
    columns = workspace.take((n_rows, room), torch.int32)
    values = workspace.take((n_rows, room), dtype)
    counts = torch.zeros(n_rows, dtype=torch.int64)
    as_integers = {torch.float64: torch.int64, torch.bfloat16: torch.int16}.get(dtype, torch.int32)
    keys = values.view(torch.int16) if dtype == torch.bfloat16 else values
    least = array(torch.zeros(n_rows, dtype=keys.dtype) if bounds is None else bounds)
    candidates = [array(tensor) for tensor in (columns, keys, values.view(as_integers), counts)]
    maxima = torch.empty(threads, max(1, _width(product) // 8), dtype=keys.dtype)
    written = torch.empty(threads, _width(product), dtype=product.b.dtype)
    scratch = [array(tensor) for tensor in (maxima, maxima.view(as_integers), written)]
    tiles = Tiles(product, workspace)
    of_product = tiles.arrays()
    for start, tile in tiles:
        cpu.push_largest(_bits(tile), *of_product, start, k, threads, *candidates, least, *scratch)
    cpu.settle_largest(k, *candidates, least)
    offsets, found, kept = gathered(torch.arange(n_rows) * room, counts, columns.view(-1), keys.view(-1))
    workspace.give(columns)
    workspace.give(values)
    return SparseRows(offsets, found, kept.view(dtype).to(product.b.dtype))


def above(product: Product, bounds: Tensor, workspace: Workspace) -> SparseRows:
    """Return the entries that exceed their column's bound."""
    cpu = searches()
    bounds = bounds.to(product.b.dtype)
    n_rows, width = len(product.x), _width(product)
    written = array(torch.empty(torch.get_num_threads(), width, dtype=bounds.dtype))
    starts, counts = torch.empty(2, -(-len(product.W) // width), n_rows, dtype=torch.int64)
    # most of it is never touched, so that it takes no memory
    columns = workspace.take((2 * n_rows * width,), torch.int32)
    values = workspace.take((2 * n_rows * width,), bounds.dtype)
    tiles = Tiles(product, workspace)
    given, found = [*tiles.arrays(), array(bounds)], 0
    for i, (start, tile) in enumerate(tiles):
        if found + n_rows * width > len(columns):
            columns, values = (_doubled(each, workspace) for each in (columns, values))
        into = [array(tensor) for tensor in (columns, values, starts[i], counts[i])]
        found = cpu.push_above(_bits(tile), *given, start, found, *into, written)
    # by tile and row now, wanted by row and tile
    offsets, few_columns, few_values = gathered(starts.T.flatten(), counts.T.flatten(), columns, values)
    workspace.give(columns)
    workspace.give(values)
    return SparseRows(offsets[:: len(starts)].contiguous(), few_columns, few_values)


def _doubled(full: Tensor, workspace: Workspace) -> Tensor:
    """Return a buffer of twice the length that begins with another, which is given back: later searches take both."""
    larger = workspace.take((2 * len(full),), full.dtype)
    larger[: len(full)] = full
    workspace.give(full)
    return larger


def narrow(entries: SparseRows, k: int) -> SparseRows:
    """Return the k largest positive entries of each row. Of equal ones at the edge the first are kept."""
    offsets, columns, values = entries
    kept, into = torch.empty_like(columns), torch.empty_like(values)
    counts = torch.empty(len(offsets) - 1, dtype=torch.int64)
    bits = into.view(torch.int64 if values.dtype == torch.float64 else torch.int32)
    arrays = [array(tensor) for tensor in (offsets, columns, values, kept, into, bits, counts)]
    searches().narrow(*arrays, k)
    return gathered(offsets[:-1], counts, kept, into)


def exceeding(entries: SparseRows, bounds: Tensor) -> SparseRows:
    """Return the entries that exceed their column's bound."""
    offsets, columns, values = entries
    kept, into = torch.empty_like(columns), torch.empty_like(values)
    counts = torch.empty(len(offsets) - 1, dtype=torch.int64)
    arrays = [array(tensor) for tensor in (offsets, columns, values, bounds, kept, into, counts)]
    loops().exceeding(*arrays)
    return gathered(offsets[:-1], counts, kept, into)


def gathered(starts: Tensor, counts: Tensor, columns: Tensor, values: Tensor) -> SparseRows:
    """Return rows that begin at ``starts`` and have ``counts`` entries, one after the other."""
    offsets = torch.nn.functional.pad(counts.cumsum(0), (1, 0))
    n = int(offsets[-1])
    few_columns, few_values = columns.new_empty(n), values.new_empty(n)
    arrays = [array(tensor) for tensor in (starts, counts, columns, values, offsets, few_columns, few_values)]
    loops().gather_rows(*arrays)
    return SparseRows(offsets, few_columns, few_values)


def replaced(entries: SparseRows, rows: Tensor, by: SparseRows) -> SparseRows:
    """Return entries with those of others in the place of some rows'."""
    starts, counts = entries.offsets[:-1].clone(), torch.diff(entries.offsets)
    starts[rows], counts[rows] = len(entries.columns) + by.offsets[:-1], torch.diff(by.offsets)
    columns, values = (torch.cat(both) for both in zip(entries[1:], by[1:], strict=True))
    return gathered(starts, counts, columns, values)


class Factor(NamedTuple):
    """Rows of x or of W, as a factor of a product in some type."""

    rows: Tensor
    numbers: Tensor
    """If they were quantised (3 x rows): what integers count in, and no less than the norms of the rows and of what
    they lost. Else they say nothing."""


class Tiles:
    """A product of B rows, computed tile by tile: gives the first column of each, and B x some columns.

    A tile's numbers are floating-point, or int32 if factors were quantised. Its memory is the next one's.

    Attributes
    ----------
    bias
        To be added, by column; to bfloat16 it was.
    of_columns
        `Factor.numbers` of the columns.
    of_rows
        Of integers, numbers of each row (B x 3) that those of the columns are multiplied by: what its own integers
        count in, and two for a bound, or zeros.
    """

    def __init__(self, product: Product, workspace: Workspace) -> None:
        x, W, b, dtype, upper = product
        if upper is not None and dtype != torch.int8:
            raise ValueError(f"upper bounds of a product are computed in int8, found {dtype}")
        self.product, self._workspace = product, workspace
        self._samples, self._latents = _converted(x, dtype, workspace), _converted(W, dtype, workspace, b)
        self.bias, self.of_columns = b, self._latents.numbers
        self.of_rows = _of_rows(self._samples.numbers, x.shape[1], upper)

    def arrays(self) -> list[np.ndarray]:
        """Return what loops take of all tiles: scale, bias and factor."""
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
    """Return the number of columns of a product's tiles; the last may have fewer."""
    return min(len(product.W), 2 * TILE if product.dtype == torch.bfloat16 else TILE)


@cache
def _one_dnn() -> bool:
    """Tell whether oneDNN may multiply, with vectors of 512 bits. MKL, which torch asks, uses half of their width where
    the processor is not Intel's, and takes twice the time."""
    there = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    return there and torch.backends.cpu.get_cpu_capability() == "AVX512"


def _of_rows(numbers: Tensor, n_p: int, upper: float | None) -> Tensor:
    """Return `Tiles.of_rows` of samples. With |w| (|x - x'| + sums) + |w - w'| |x'| a product bounds float32's."""
    steps, norms, lost = numbers
    if upper is None:
        return torch.stack([steps, torch.zeros_like(norms), torch.zeros_like(lost)], 1)
    return torch.stack([steps, lost + _sums(n_p) * (norms + upper), norms + lost], 1)


def _sums(n_p: int) -> float:
    """Return what sums of n_p products in float32, of either product and of norms, may be off, as a share of norms."""
    return 4 * (n_p + 8) * 2.0**-24


def _converted(rows: Tensor, dtype: torch.dtype, workspace: Workspace, bias: Tensor | None = None) -> Factor:
    """Return rows of x, or of W with their bias, as factors of the product.

    In bfloat16 the bias, as what two numbers add up to, is part of the product, with two more inputs that are one.
    To have torch add it takes a tenth of the product's time.
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
    """Round rows of float32 to bfloat16; not a number may become another.

    After each row come two more numbers, which add up to that in ``last``: the second is what the first loses.
    """
    roundings().to_bfloat16(array(x).view(np.int32), array(last), array(out.view(torch.int16)))


def quantise(x: Tensor, out: Tensor) -> Tensor:
    """Write rows as int8, and return `Factor.numbers`."""
    numbers = torch.empty(3, len(x), dtype=torch.float32)
    roundings().quantise(array(x), array(x).view(np.int32), array(out), *(array(each) for each in numbers))
    n_p = x.shape[1]
    numbers[1:] = (numbers[1:] + n_p**0.5 * VANISHED) * (1 + _sums(n_p))
    return numbers
