"""The numba backend of the sparse kernels: calls its compiled loops with tensors."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sdlcore.model.kernels import tiles
from sdlcore.model.kernels.calling import array, loops, row_loops
from sdlcore.model.kernels.interface import Backward, Descent, Product, SparseRows
from sdlcore.model.kernels.workspace import Workspace

CACHED = 3 << 19
"""Bytes of a dictionary that are worked on at once: about what a core's second cache holds."""
FULL = 6
"""Entries of a row in such a part of a dictionary from which on to go through it part by part is faster."""


class NumbaKernels:
    """`sdlcore.model.kernels.interface.Kernels` for a CPU.

    Parameters
    ----------
    workspace
        Buffers that whoever owns it keeps from call to call; None for new ones each time.
    """

    def __init__(self, workspace: Workspace | None = None) -> None:
        self.workspace = workspace

    def take(self, shape: tuple[int, ...], like: Tensor) -> Tensor:
        return like.new_empty(shape) if self.workspace is None else self.workspace.take(shape, like.dtype)

    def give(self, tensor: Tensor) -> None:
        if self.workspace is not None:
            self.workspace.give(tensor)

    def largest(self, product: Product, k: int) -> SparseRows:
        return tiles.largest(product, k, self.workspace or Workspace())

    def above(self, product: Product, bounds: Tensor) -> SparseRows:
        return tiles.above(product, bounds, self.workspace or Workspace())

    def narrow(self, entries: SparseRows, k: int) -> SparseRows:
        return tiles.narrow(entries, k)

    def transpose(self, offsets: Tensor, columns: Tensor, n_q: int) -> tuple[Tensor, Tensor, Tensor]:
        column_offsets = torch.empty(n_q + 1, dtype=torch.int64)
        rows, order = torch.empty_like(columns), torch.empty_like(columns)
        loops().transpose(array(offsets), array(columns), array(column_offsets), array(rows), array(order))
        return column_offsets, rows, order

    def ranks(self, offsets: Tensor, values: Tensor) -> Tensor:
        places = torch.empty(len(values), dtype=torch.int64)
        loops().ranks(array(offsets), array(values), array(places))
        return places

    def gather_sum(self, offsets: Tensor, columns: Tensor, values: Tensor, W: Tensor) -> Tensor:
        out = self.take((len(offsets) - 1, W.shape[1]), W)
        given = [array(tensor) for tensor in (offsets, columns, values, W)]
        at_once = max(1, CACHED // (W.shape[1] * W.itemsize))
        if len(columns) * at_once >= FULL * out.shape[0] * len(W):
            loops().gather_sum_by_blocks(*given, at_once, torch.get_num_threads(), array(out))
        else:
            loops().gather_sum(*given, array(out))
        return out

    def dots(
        self, column_offsets: Tensor, rows: Tensor, order: Tensor, W: Tensor, x: Tensor, groups: int = 1
    ) -> Tensor:
        values = W.new_empty(len(rows))
        pattern = array(column_offsets), array(rows), array(order)
        loops().dots(*pattern, array(W), array(x), groups, array(values))
        return values

    def scatter_sum(
        self, column_offsets: Tensor, rows: Tensor, order: Tensor, values: Tensor, x: Tensor, groups: int = 1
    ) -> tuple[Tensor, Tensor]:
        out = self.take((len(column_offsets) - 1, x.shape[1]), x)
        squares = x.new_empty(len(out))
        pattern = array(column_offsets), array(rows), array(order)
        loops().scatter_sum(*pattern, array(values), array(x), groups, array(out), array(squares))
        return out, squares

    def decode_backward(
        self, column_offsets: Tensor, rows: Tensor, order: Tensor, values: Tensor, W: Tensor, gradient: Tensor
    ) -> Backward:
        to_W = self.take(tuple(W.shape), W)
        out = Backward(torch.empty_like(values), to_W, W.new_empty(len(W)), W.new_empty(len(W)))
        given = [array(tensor) for tensor in (column_offsets, rows, order, values, W, gradient)]
        loops().decode_backward(*given, *(array(tensor) for tensor in out))
        return out

    def squared_norms(self, W: Tensor) -> Tensor:
        return torch.from_numpy(row_loops().squared_norms(array(W)))

    def row_products(self, A: Tensor, W: Tensor) -> tuple[Tensor, Tensor]:
        products, squares = W.new_empty(len(W)), W.new_empty(len(W))
        row_loops().row_products(array(A), array(W), array(products), array(squares))
        return products, squares

    def site_norms(self, W: Tensor, sites: Sequence[int]) -> Tensor:
        norms = W.new_empty(len(W), len(sites))
        row_loops().site_norms(array(W), _edges(sites), array(norms))
        return norms

    def add_scaled_sites(self, out: Tensor, W: Tensor, sites: Sequence[int], factors: Tensor) -> None:
        row_loops().add_scaled_sites(array(out), array(W), _edges(sites), array(factors))

    def normalise_rows(self, W: Tensor, smallest: float = 1e-12) -> None:
        row_loops().normalise_rows(array(W), smallest)

    def adam(
        self,
        descents: Sequence[Descent],
        lr: float,
        betas: tuple[float, float],
        eps: float,
        scale: Tensor | None = None,
    ) -> None:
        factor = 1.0 if scale is None else 1 / float(scale)
        beta1, beta2 = betas
        for p, gradient, mean, square, step, along in descents:
            step += 1
            size, root = lr / (1 - beta1 ** float(step)), (1 - beta2 ** float(step)) ** -0.5
            numbers = [factor, beta1, 1 - beta1, beta2, 1 - beta2, size, root, eps]
            # a tuple of scalars in the tensors' own type, or the loop would be computed in double precision
            scalars = tuple(array(torch.tensor(numbers, dtype=p.dtype)))
            arrays = [array(tensor) for tensor in (p, gradient, mean, square)]
            if along is not None:
                row_loops().adam_on_sphere(*arrays, array(along), scalars)
            else:
                row_loops().adam(*(each.reshape(-1) for each in arrays), scalars)


def _edges(sites: Sequence[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(sites)])
