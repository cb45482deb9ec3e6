"""The Triton backend of the sparse kernels, for GPUs: torch's operators, with one kernel for the sums of a step.

A line is a row or a column of a pattern; its entries index rows of a dense matrix. One program processes a line's
entries in order, for one part of the matrix's columns, so bits depend only on shapes. Programs of the same part run
side by side, and their part of the batch stays in the GPU's second-level cache.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from sdlcore.sparse.kernels.interface import Backward, Kernels

_ENTRIES, _WIDTH = 8, 512
"""Entries, and columns of the dense matrix, that a program reads at once."""


class Sums(NamedTuple):
    """Results of `sums` for the entries i of each line l; results that were not requested are empty."""

    sums: Tensor
    """Lines x d: the sum of values[i] x[indices[i]]; needs values."""
    squares: Tensor
    """Lines: squared norms of ``sums``; needs values."""
    products: Tensor
    """Lines: the products of ``sums`` with W[l]; needs values and W."""
    dots: Tensor
    """N: W[l] . x[indices[i]]; needs W."""


@triton.jit
def _sums(
    offsets,
    indices,
    values,
    x,
    W,
    sums,
    squares,
    products,
    dots,
    n_lines,
    n_entries,
    width,
    HAS_VALUES: tl.constexpr,
    HAS_W: tl.constexpr,
    ENTRIES: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Compute one line's `Sums` for a part of the columns of x and W; products and norms cover only that part."""
    line, part = tl.program_id(0).to(tl.int64), tl.program_id(1)
    inner = part * WIDTH + tl.arange(0, WIDTH)
    inside = inner < width
    total = tl.zeros((WIDTH,), x.dtype.element_ty)
    if HAS_W:
        w = tl.load(W + line * width + inner, mask=inside, other=0.0)
    end = tl.load(offsets + line + 1)
    for start in range(tl.load(offsets + line), end, ENTRIES):
        entry = start + tl.arange(0, ENTRIES)
        entry_mask = entry < end
        row = tl.load(indices + entry, mask=entry_mask, other=0).to(tl.int64)
        part_of_rows = entry_mask[:, None] & inside[None, :]
        x_tile = tl.load(x + row[:, None] * width + inner[None, :], mask=part_of_rows, other=0.0)
        if HAS_VALUES:
            total += tl.sum(tl.load(values + entry, mask=entry_mask, other=0.0)[:, None] * x_tile, 0)
        if HAS_W:
            tl.store(dots + part * n_entries + entry, tl.sum(x_tile * w[None, :], 1), mask=entry_mask)
    if HAS_VALUES:
        tl.store(sums + line * width + inner, total, mask=inside)
        tl.store(squares + part * n_lines + line, tl.sum(total * total))
        if HAS_W:
            tl.store(products + part * n_lines + line, tl.sum(total * w))


def sums(offsets: Tensor, indices: Tensor, values: Tensor | None, x: Tensor, W: Tensor | None = None) -> Sums:
    """Compute sums of each line's rows if values are given, and products with W if W is given.

    Parameters
    ----------
    offsets, indices
        Line l has the entries ``offsets[l]`` to ``offsets[l + 1]``; entry i is row ``indices[i]`` of x.
    values
        N weights, or None.
    x
        Rows x d.
    W
        Lines x d, or None.
    """
    n_lines, n_entries, width = len(offsets) - 1, len(indices), x.shape[1]
    block = min(_WIDTH, triton.next_power_of_2(width))
    parts = triton.cdiv(width, block)
    summed, multiplied = values is not None, W is not None

    def buffer(where: bool, *shape: int) -> Tensor:
        return x.new_empty(shape if where else (0,) * len(shape))

    results = Sums(
        buffer(summed, n_lines, width),
        buffer(summed, parts, n_lines),
        buffer(summed and multiplied, parts, n_lines),
        buffer(multiplied, parts, n_entries),
    )
    inputs = [None if tensor is None else tensor.contiguous() for tensor in (offsets, indices, values, x, W)]
    _sums[(n_lines, parts)](
        *inputs,
        *results,
        n_lines,
        n_entries,
        width,
        HAS_VALUES=summed,
        HAS_W=multiplied,
        ENTRIES=_ENTRIES,
        WIDTH=block,
        num_warps=4,
    )
    return Sums(results.sums, *(of_parts.sum(0) for of_parts in results[1:]))


class TritonKernels(Kernels):
    """The GPU backend. Searches and Adam are torch's."""

    def gather_sum(self, offsets: Tensor, columns: Tensor, values: Tensor, W: Tensor) -> Tensor:
        return sums(offsets, columns, values, W).sums

    def dots(self, column_offsets: Tensor, rows: Tensor, order: Tensor, W: Tensor, x: Tensor) -> Tensor:
        dots = sums(column_offsets, rows, None, x, W).dots
        return torch.empty_like(dots).index_copy_(0, order.long(), dots)

    def scatter_sum(
        self, column_offsets: Tensor, rows: Tensor, order: Tensor, values: Tensor, x: Tensor
    ) -> tuple[Tensor, Tensor]:
        line_sums = sums(column_offsets, rows, values[order], x)
        return line_sums.sums, line_sums.squares

    def decode_backward(
        self, column_offsets: Tensor, rows: Tensor, order: Tensor, values: Tensor, W: Tensor, gradient: Tensor
    ) -> Backward:
        to_W, squares, products, dots = sums(column_offsets, rows, values[order], gradient, W)
        return Backward(torch.empty_like(dots).index_copy_(0, order.long(), dots), to_W, squares, products)
