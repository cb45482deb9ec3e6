"""Sparse kernels: the part of a dictionary model that touches only active latents.

A pattern is kept in compressed sparse rows: row r has the columns ``columns[offsets[r]:offsets[r + 1]]``, ascending. On
the CPU the kernels are compiled by numba (`kernels.cpu`), elsewhere they are torch operators (`kernels.torch_ops`).
"""

from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sdlcore.model.kernels import torch_ops, workspace

CACHED = 3 << 17
"""Bytes of a dictionary and of an output that are worked on at once: together they fit in a core's second cache."""
FULL = 2
"""Entries of a row in such a part of a dictionary from which on to go through it part by part is faster."""
ROOM = 2
"""Times k: candidates that a row has room for while its largest entries are looked for."""


class Tile(NamedTuple):
    """Some columns of a matrix of B rows, as a product left them, on the CPU."""

    start: int
    """The first of the columns."""
    product: Tensor
    """B x columns. Floating-point numbers, or int32 if factors were quantised."""
    bias: Tensor
    """To be added, by column; to bfloat16 it was."""
    scale: Tensor
    """What integers of a column count in."""
    factor: Tensor
    """What integers of a row (B) count in, besides."""

    def arrays(self) -> tuple[np.ndarray, ...]:
        """Return what kernels take: product, scale, bias and factor."""
        product = self.product.view(torch.int16) if self.product.dtype == torch.bfloat16 else self.product
        return _array(product), _array(self.scale), _array(self.bias), _array(self.factor)


def largest(tiles: Iterable[Tile], n_rows: int, k: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Return offsets, columns and values of the k largest positive entries of each row, on the CPU.

    ``dtype`` is that of values: bfloat16 for tiles in it. Of equal ones at the edge those of smaller column are kept.
    """
    cpu = _cpu_select()
    room, threads = ROOM * k + 16, torch.get_num_threads()
    columns = workspace.take((n_rows, room), torch.int32, torch.device("cpu"))
    values = workspace.take((n_rows, room), dtype, torch.device("cpu"))
    counts = torch.zeros(n_rows, dtype=torch.int64)
    as_integers = {torch.float64: torch.int64, torch.bfloat16: torch.int16}.get(dtype, torch.int32)
    keys = values.view(torch.int16) if dtype == torch.bfloat16 else values
    bounds = torch.zeros(n_rows, dtype=keys.dtype)
    candidates = [_array(tensor) for tensor in (columns, keys, values.view(as_integers), counts)]
    for tile in tiles:
        maxima = torch.empty(threads, max(1, tile.product.shape[1] // 8), dtype=keys.dtype)
        scratch = [_array(tensor) for tensor in (bounds, maxima, maxima.view(as_integers))]
        cpu.push_largest(*tile.arrays(), tile.start, k, threads, *candidates, *scratch)
    cpu.settle_largest(k, *candidates)
    offsets, found, kept = gathered(torch.arange(n_rows) * room, counts, columns.view(-1), keys.view(-1))
    workspace.give(columns)
    workspace.give(values)
    return offsets, found, kept.view(dtype)


def above(tiles: Iterable[Tile], n_rows: int, bounds: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return offsets, columns and values of the entries that exceed their column's bound, on the CPU."""
    cpu = _cpu_select()
    threads = torch.get_num_threads()
    starts, counts, columns, values = [], [], [], []
    before = 0
    for tile in tiles:
        width = tile.product.shape[1]
        room = n_rows * width + 16 * threads
        in_tile = workspace.take((room,), torch.int32, bounds.device)
        there = workspace.take((room,), bounds.dtype, bounds.device)
        at, number = torch.empty(n_rows, dtype=torch.int64), torch.empty(n_rows, dtype=torch.int64)
        wanted = _array(bounds[tile.start : tile.start + width])
        found = [_array(tensor) for tensor in (in_tile, there, at, number)]
        cpu.push_above(*tile.arrays(), wanted, tile.start, threads, *found)
        offsets, few_columns, few_values = gathered(at, number, in_tile, there)
        starts.append(offsets[:-1] + before)
        counts.append(number)
        columns.append(few_columns)
        values.append(few_values)
        before += len(few_columns)
        workspace.give(in_tile)
        workspace.give(there)
    # by tile and row now, wanted by row and tile
    first, number = (torch.stack(each, 1).flatten() for each in (starts, counts))
    offsets, all_columns, all_values = gathered(first, number, torch.cat(columns), torch.cat(values))
    return offsets[:: len(starts)].contiguous(), all_columns, all_values


def to_bfloat16(x: Tensor, last: Tensor, out: Tensor) -> None:
    """Round rows of float32 to bfloat16, on the CPU; not a number may become another.

    After each row come two more numbers, which add up to that in ``last``: the second is what the first loses.
    """
    _cpu_select().to_bfloat16(_array(x).view(np.int32), _array(last), _array(out.view(torch.int16)))


def rounding(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the norms of rows of float32, on the CPU, and of what rounding to bfloat16 takes from them."""
    norms, lost = x.new_empty(len(x)), x.new_empty(len(x))
    _cpu_select().rounding(_array(x), _array(x).view(np.int32), _array(norms), _array(lost))
    return norms, lost


def narrow(offsets: Tensor, columns: Tensor, values: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return offsets, columns and values of the k largest positive values of each row of a pattern, on the CPU.

    Of equal ones at the edge the first are kept.
    """
    kept, into = torch.empty_like(columns), torch.empty_like(values)
    counts = torch.empty(len(offsets) - 1, dtype=torch.int64)
    bits = into.view(torch.int64 if values.dtype == torch.float64 else torch.int32)
    arrays = [_array(tensor) for tensor in (offsets, columns, values, kept, into, bits, counts)]
    _cpu_select().narrow(*arrays, k)
    return gathered(offsets[:-1], counts, kept, into)


def quantise(x: Tensor, out: Tensor) -> Tensor:
    """Write rows as int8, on the CPU, and return what the integers of each row count in."""
    steps = torch.empty(len(x), dtype=torch.float32)
    _cpu_select().quantise(_array(x), _array(x).view(np.int32), _array(out), _array(steps))
    return steps


def gathered(starts: Tensor, counts: Tensor, columns: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return offsets, columns and values of rows that begin at ``starts``, one after the other."""
    offsets = offsets_of(counts)
    n = int(offsets[-1])
    few_columns, few_values = columns.new_empty(n), values.new_empty(n)
    arrays = [_array(tensor) for tensor in (starts, counts, columns, values, offsets, few_columns, few_values)]
    _cpu_select().gather_rows(*arrays)
    return offsets, few_columns, few_values


def transpose(offsets: Tensor, columns: Tensor, n_q: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the pattern by columns: offsets (n_q + 1), rows, and which entry of the rows each entry is."""
    if columns.device.type != "cpu":
        return torch_ops.transpose(offsets, columns, n_q)
    cpu = _cpu()
    column_offsets = torch.empty(n_q + 1, dtype=torch.int64)
    rows, order = torch.empty_like(columns), torch.empty_like(columns)
    cpu.transpose(_array(offsets), _array(columns), _array(column_offsets), _array(rows), _array(order))
    return column_offsets, rows, order


def ranks(offsets: Tensor, values: Tensor) -> Tensor:
    """Return the place of each value among its row's, descending from 0; of equal values the earlier comes first."""
    if values.device.type != "cpu":
        return torch_ops.ranks(offsets, values)
    cpu = _cpu()
    places = torch.empty(len(values), dtype=torch.int64)
    cpu.ranks(_array(offsets), _array(values), _array(places))
    return places


def gather_sum(offsets: Tensor, columns: Tensor, values: Tensor, W: Tensor) -> Tensor:
    """Return out[r] = sum over the entries i of row r of values[i] W[columns[i]]: codes times dictionary."""
    if W.device.type != "cpu":
        return torch_ops.gather_sum(offsets, columns, values, W)
    cpu = _cpu()
    out = workspace.take((len(offsets) - 1, W.shape[1]), W.dtype, W.device)
    given = [_array(tensor) for tensor in (offsets, columns, values, W)]
    at_once = max(1, CACHED // (W.shape[1] * W.itemsize))
    if len(columns) * at_once >= FULL * out.shape[0] * len(W):
        cpu.gather_sum_by_blocks(*given, at_once, _array(out))
    else:
        cpu.gather_sum(*given, _array(out))
    return out


def dots(column_offsets: Tensor, rows: Tensor, order: Tensor, W: Tensor, x: Tensor, groups: int = 1) -> Tensor:
    """Return values[order[i]] = W[c] . x[rows[i] // groups] for the entries i of each column c.

    A dense product, sampled at a pattern that is given as `transpose` gives it.
    """
    if W.device.type != "cpu":
        return torch_ops.dots(column_offsets, rows, order, W, x, groups)
    cpu = _cpu()
    values = W.new_empty(len(rows))
    cpu.dots(_array(column_offsets), _array(rows), _array(order), _array(W), _array(x), groups, _array(values))
    return values


def scatter_sum(
    column_offsets: Tensor, rows: Tensor, order: Tensor, values: Tensor, x: Tensor, groups: int = 1
) -> tuple[Tensor, Tensor]:
    """Return out[c] = sum over the entries i of column c of values[order[i]] x[rows[i] // groups]: codes^T times ``x``.

    The pattern is given as `transpose` gives it. The second tensor has the squared norms of ``out``'s rows.
    """
    if x.device.type != "cpu":
        return torch_ops.scatter_sum(column_offsets, rows, order, values, x, groups)
    cpu = _cpu()
    out = workspace.take((len(column_offsets) - 1, x.shape[1]), x.dtype, x.device)
    squares = x.new_empty(len(out))
    pattern = _array(column_offsets), _array(rows), _array(order)
    cpu.scatter_sum(*pattern, _array(values), _array(x), groups, _array(out), _array(squares))
    return out, squares


class Backward(NamedTuple):
    """What `decode_backward` returns."""

    to_values: Tensor
    """`dots` of the dictionary and the gradient."""
    to_dictionary: Tensor
    """`scatter_sum` of the codes and the gradient."""
    squares: Tensor
    """Squared norms of the rows of ``to_dictionary``."""
    products: Tensor
    """Inner products of the rows of ``to_dictionary`` with the dictionary's."""


def decode_backward(
    column_offsets: Tensor, rows: Tensor, order: Tensor, values: Tensor, W: Tensor, gradient: Tensor
) -> Backward:
    """Carry a gradient with respect to codes times dictionary, as `gather_sum` gives them, back to both factors."""
    if W.device.type != "cpu":
        return Backward(*torch_ops.decode_backward(column_offsets, rows, order, values, W, gradient))
    cpu = _cpu()
    to_values, to_W = torch.empty_like(values), workspace.take(tuple(W.shape), W.dtype, W.device)
    out = Backward(to_values, to_W, W.new_empty(len(W)), W.new_empty(len(W)))
    given = [_array(tensor) for tensor in (column_offsets, rows, order, values, W, gradient)]
    cpu.decode_backward(*given, *(_array(tensor) for tensor in out))
    return out


def squared_norms(W: Tensor) -> Tensor:
    """Return the squared norm of each row."""
    if W.device.type != "cpu":
        return torch_ops.squared_norms(W)
    cpu = _cpu()
    return torch.from_numpy(cpu.squared_norms(_array(W)))


def adam(
    p: Tensor,
    gradient: Tensor,
    moments: tuple[Tensor, Tensor],
    lr: float,
    betas: tuple[float, float],
    eps: float,
    step: float,
    scale: float = 1.0,
    along: Tensor | None = None,
) -> None:
    """Take step number ``step``, from 1, of Adam on the CPU, in place, the gradient divided by ``scale`` as it is read.

    With ``along``, the products of the gradient's rows with those of ``p``, rows of ``p`` stay on the unit sphere: the
    gradient is made tangent to it, and rows are normalised at the end.
    """
    arrays = [_array(tensor) for tensor in (p, gradient, *moments)]
    beta1, beta2 = betas
    numbers = [1 / scale, beta1, 1 - beta1, beta2, 1 - beta2, lr / (1 - beta1**step), (1 - beta2**step) ** -0.5, eps]
    # a tuple of scalars in the tensors' own type, or the loop would be computed in double precision
    scalars = tuple(_array(torch.tensor(numbers, dtype=p.dtype)))
    if along is not None:
        _cpu().adam_on_sphere(*arrays, _array(along), scalars)
    else:
        _cpu().adam(*(array.reshape(-1) for array in arrays), scalars)


def site_norms(W: Tensor, sites: Sequence[int]) -> Tensor:
    """Return the norm of each row in each of the sites (rows x sites) that its columns are divided into."""
    if W.device.type != "cpu":
        return torch_ops.site_norms(W, sites)
    cpu = _cpu()
    norms = W.new_empty(len(W), len(sites))
    cpu.site_norms(_array(W), _edges(sites), _array(norms))
    return norms


def add_scaled_sites(out: Tensor, W: Tensor, sites: Sequence[int], factors: Tensor) -> None:
    """Add W to ``out``, each row times a factor (rows x sites) in each of the sites that its columns make up."""
    if W.device.type != "cpu":
        torch_ops.add_scaled_sites(out, W, sites, factors)
        return
    cpu = _cpu()
    cpu.add_scaled_sites(_array(out), _array(W), _edges(sites), _array(factors))


def normalise_rows(W: Tensor, smallest: float = 1e-12) -> None:
    """Divide each row by its norm, in place."""
    if W.device.type != "cpu":
        torch_ops.normalise_rows(W, smallest)
        return
    cpu = _cpu()
    cpu.normalise_rows(_array(W), smallest)


def row_products(A: Tensor, W: Tensor) -> tuple[Tensor, Tensor]:
    """Return the inner products of the rows of A with those of W, and with themselves."""
    if W.device.type != "cpu":
        return torch_ops.row_products(A, W)
    products, squares = W.new_empty(len(W)), W.new_empty(len(W))
    _cpu().row_products(_array(A), _array(W), _array(products), _array(squares))
    return products, squares


def _cpu() -> ModuleType:
    """Return the CPU's kernels, set to as many threads as torch has. They take a moment to import: only where used."""
    from sdlcore.model.kernels import cpu

    _set_threads()
    return cpu


def _cpu_select() -> ModuleType:
    """Return those that search, likewise."""
    from sdlcore.model.kernels import cpu_select

    _set_threads()
    return cpu_select


def _set_threads() -> None:
    import numba

    numba.set_num_threads(min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]


def offsets_of(counts: Tensor) -> Tensor:
    """Return where each row of a pattern begins whose rows have ``counts`` entries, and where the last ends."""
    return torch.nn.functional.pad(counts.cumsum(0), (1, 0))


def _edges(sites: Sequence[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(sites)])


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()
