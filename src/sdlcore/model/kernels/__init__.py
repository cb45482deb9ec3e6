"""Sparse kernels: the part of a dictionary model that touches only active latents.

A pattern is kept in compressed sparse rows: row r has the columns ``columns[offsets[r]:offsets[r + 1]]``, ascending. On
the CPU the kernels are compiled by numba (`kernels.cpu`), elsewhere they are torch operators (`kernels.torch_ops`).
"""

from collections.abc import Sequence
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from sdlcore.model.kernels import torch_ops, workspace

_ALL_BUT_SIGN = 0x7FFF


def topk(pre: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return offsets and columns of the k largest entries of each row (R x n_q).

    On the CPU the positive ones among them, elsewhere all k.
    """
    if pre.device.type != "cpu":
        return torch_ops.topk(pre, k)
    cpu = _cpu()
    columns = torch.empty(len(pre), k, dtype=torch.int32)
    # positive bfloat16 numbers are ordered as their bits are, read as integers, of which a factor of two is 128
    bits, shrink, drop = (_bits(pre), 1.0, 10.0) if pre.dtype == torch.bfloat16 else (pre, 0.95, 0.0)
    counts = cpu.topk_rows(_array(bits), k, shrink, drop, torch.get_num_threads(), _array(columns))
    counts = torch.from_numpy(counts)
    if int(counts.sum()) != columns.numel():
        columns = columns[torch.arange(k) < counts[:, None]]
    return _offsets(counts), columns.flatten()


def above(pre: Tensor, bounds: Tensor) -> tuple[Tensor, Tensor]:
    """Return offsets and columns of the entries that exceed their column's bound (n_q)."""
    if pre.device.type != "cpu":
        return torch_ops.above(pre, bounds)
    cpu = _cpu()
    bounds = bounds.to(pre.dtype)
    if pre.dtype == torch.bfloat16:
        # as in `topk`; negative numbers come below all positive ones, but among themselves the other way round
        as_bits = _ordered_bits if bool((bounds < 0).any()) else _bits
        pre, bounds = as_bits(pre), as_bits(bounds)
    offsets = _offsets(torch.from_numpy(cpu.count_above(_array(pre), _array(bounds))))
    columns = torch.empty(int(offsets[-1]), dtype=torch.int32)
    cpu.columns_above(_array(pre), _array(bounds), _array(offsets), _array(columns))
    return offsets, columns


def take(pre: Tensor, offsets: Tensor, columns: Tensor) -> Tensor:
    """Return the entries of ``pre`` (R x n_q) at a pattern."""
    if pre.device.type != "cpu":
        return torch_ops.take(pre, offsets, columns)
    cpu = _cpu()
    bits = _bits(pre) if pre.dtype == torch.bfloat16 else pre
    values = bits.new_empty(len(columns))
    cpu.take(_array(bits), _array(offsets), _array(columns), _array(values))
    return values.view(pre.dtype)


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
    cpu.gather_sum(_array(offsets), _array(columns), _array(values), _array(W), _array(out))
    return out


def dots(offsets: Tensor, columns: Tensor, W: Tensor, x: Tensor, groups: int = 1) -> Tensor:
    """Return values[i] = W[columns[i]] . x[row of i // groups]: a dense product, sampled at a pattern."""
    if W.device.type != "cpu":
        return torch_ops.dots(offsets, columns, W, x, groups)
    cpu = _cpu()
    values = W.new_empty(len(columns))
    cpu.dots(_array(offsets), _array(columns), _array(W), _array(x), groups, _array(values))
    return values


def scatter_sum(column_offsets: Tensor, rows: Tensor, values: Tensor, x: Tensor, groups: int = 1) -> Tensor:
    """Return out[c] = sum over the entries i of column c of values[i] x[rows[i] // groups]: codes^T times ``x``.

    ``rows`` and ``values`` stand in the order of `transpose`.
    """
    if x.device.type != "cpu":
        return torch_ops.scatter_sum(column_offsets, rows, values, x, groups)
    cpu = _cpu()
    out = workspace.take((len(column_offsets) - 1, x.shape[1]), x.dtype, x.device)
    cpu.scatter_sum(_array(column_offsets), _array(rows), _array(values), _array(x), groups, _array(out))
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
    import numba

    from sdlcore.model.kernels import cpu

    numba.set_num_threads(min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
    return cpu


def _edges(sites: Sequence[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(sites)])


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()


def _offsets(counts: Tensor) -> Tensor:
    return torch.nn.functional.pad(counts.cumsum(0), (1, 0))


def _bits(x: Tensor) -> Tensor:
    return x.view(torch.int16)


def _ordered_bits(x: Tensor) -> Tensor:
    """Return integers in the order of bfloat16 numbers."""
    bits = _bits(x)
    return torch.where(bits < 0, bits ^ _ALL_BUT_SIGN, bits)
