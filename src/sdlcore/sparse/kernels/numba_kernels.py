"""The numba backend of the sparse kernels: calls loops that numba compiled, with tensors as arguments."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sdlcore.sparse.kernels import tiles
from sdlcore.sparse.kernels.calling import array, loops
from sdlcore.sparse.kernels.interface import Backward, Descent, Kernels, Product, SparseRows
from sdlcore.sparse.kernels.workspace import Workspace

BLOCK = 1024
"""Dictionary rows in a block, whose pieces are processed together: a quarter of a core's second-level cache."""
FULL = 6
"""Mean number of entries in an output row and block above which the block-wise sum is used."""
MANY, LEAST = 16, 1 << 23
"""Tiled loops are used from this number of entries per dictionary row, and of multiplications in total."""


class NumbaKernels(Kernels):
    """The CPU backend: loops that numba compiled.

    Parameters
    ----------
    workspace
        Buffers kept between calls; None to allocate new ones each time.
    """

    def __init__(self, workspace: Workspace | None = None) -> None:
        super().__init__()
        self.workspace = workspace

    def take(self, shape: tuple[int, ...], like: Tensor) -> Tensor:
        return like.new_empty(shape) if self.workspace is None else self.workspace.take(shape, like.dtype)

    def give(self, tensor: Tensor) -> None:
        if self.workspace is not None:
            self.workspace.give(tensor)

    def largest(self, product: Product, k: int, bounds: Tensor | None = None) -> SparseRows:
        return tiles.largest(product, k, self.workspace or Workspace(), bounds)

    def of_both_signs(self, product: Product, k: int) -> tuple[SparseRows, SparseRows]:
        return tiles.of_both_signs(product, k, self.workspace or Workspace())

    def above(self, product: Product, bounds: Tensor) -> SparseRows:
        return tiles.above(product, bounds, self.workspace or Workspace())

    def narrow(self, entries: SparseRows, k: int) -> SparseRows:
        return tiles.narrow(entries, k)

    def transpose(self, offsets: Tensor, columns: Tensor, n_q: int) -> tuple[Tensor, Tensor, Tensor]:
        column_offsets = torch.empty(n_q + 1, dtype=torch.int64)
        rows, order = torch.empty_like(columns), torch.empty_like(columns)
        loops("cpu").transpose(array(offsets), array(columns), array(column_offsets), array(rows), array(order))
        return column_offsets, rows, order

    def ranks(self, offsets: Tensor, values: Tensor) -> Tensor:
        places = torch.empty(len(values), dtype=torch.int64)
        loops("cpu").ranks(array(offsets), array(values), array(places))
        return places

    def gather_sum(self, offsets: Tensor, columns: Tensor, values: Tensor, W: Tensor) -> Tensor:
        out = self.take((len(offsets) - 1, W.shape[1]), W)
        inputs = [array(tensor) for tensor in (offsets, columns, values, W)]
        if len(columns) * BLOCK < FULL * len(out) * len(W):
            loops("cpu").gather_sum(*inputs, array(out))
            return out
        threads, width = torch.get_num_threads(), loops("cpu_tiles").PIECE // W.itemsize
        pieces, blocks = -(-W.shape[1] // width), -(-len(W) // BLOCK)
        # the fewest parts that give each thread the same number of tasks, because each part reads all of W
        parts = threads // math.gcd(threads, pieces)
        tiles = self.take((pieces * parts, BLOCK, width), W)
        spare = np.empty(len(columns), np.int32), np.empty((len(out), blocks + 1), np.int64)
        loops("cpu_tiles").gather_sum(*inputs, array(tiles), parts, *spare, array(out))
        self.give(tiles)
        return out

    def dots(self, column_offsets: Tensor, rows: Tensor, order: Tensor, W: Tensor, x: Tensor) -> Tensor:
        values = W.new_empty(len(rows))
        if not _are_many(rows, W):
            inputs = [array(tensor) for tensor in (column_offsets, rows, order, W, x)]
            loops("cpu").dots(*inputs, array(values))
            return values
        tiles = self._tiles(x)
        inputs = [array(tensor) for tensor in (column_offsets, rows, order, W, tiles)]
        loops("cpu_tiles").dots(*inputs, _edges_of_chunks(column_offsets), array(values))
        self.give(tiles)
        return values

    def scatter_sum(
        self, column_offsets: Tensor, rows: Tensor, order: Tensor, values: Tensor, x: Tensor
    ) -> tuple[Tensor, Tensor]:
        out = self.take((len(column_offsets) - 1, x.shape[1]), x)
        squares = x.new_empty(len(out))
        if not _are_many(rows, out):
            inputs = [array(tensor) for tensor in (column_offsets, rows, order, values, x)]
            loops("cpu").scatter_sum(*inputs, array(out), array(squares))
            return out, squares
        tiles = self._tiles(x)
        inputs = [array(tensor) for tensor in (column_offsets, rows, order, values, tiles)]
        loops("cpu_tiles").scatter_sum(*inputs, _edges_of_chunks(column_offsets), array(out), array(squares))
        self.give(tiles)
        return out, squares

    def decode_backward(
        self, column_offsets: Tensor, rows: Tensor, order: Tensor, values: Tensor, W: Tensor, gradient: Tensor
    ) -> Backward:
        to_W = self.take(tuple(W.shape), W)
        out = Backward(torch.empty_like(values), to_W, W.new_empty(len(W)), W.new_empty(len(W)))
        inputs = [array(tensor) for tensor in (column_offsets, rows, order, values, W)]
        results = [array(tensor) for tensor in out]
        if not _are_many(rows, W):
            loops("cpu").decode_backward(*inputs, array(gradient), *results)
            return out
        tiles = self._tiles(gradient)
        loops("cpu_tiles").decode_backward(*inputs, array(tiles), _edges_of_chunks(column_offsets), *results)
        self.give(tiles)
        return out

    def _tiles(self, x: Tensor) -> Tensor:
        """Return x cut into pieces of its columns (pieces x rows x width); the last piece is padded with zeros."""
        n, d = x.shape
        width = loops("cpu_tiles").PIECE // x.itemsize
        tiles = self.take((-(-d // width), n, width), x)
        whole = d // width
        tiles[:whole] = x[:, : whole * width].view(n, whole, width).transpose(0, 1)
        if d % width:
            tiles[whole].zero_()[:, : d % width] = x[:, whole * width :]
        return tiles

    def squared_norms(self, W: Tensor) -> Tensor:
        return torch.from_numpy(loops("cpu_rows").squared_norms(array(W)))

    def row_products(self, A: Tensor, W: Tensor) -> tuple[Tensor, Tensor]:
        products, squares = W.new_empty(len(W)), W.new_empty(len(W))
        loops("cpu_rows").row_products(array(A), array(W), array(products), array(squares))
        return products, squares

    def site_norms(self, W: Tensor, sites: Sequence[int]) -> Tensor:
        norms = W.new_empty(len(W), len(sites))
        loops("cpu_rows").site_norms(array(W), _edges(sites), array(norms))
        return norms

    def add_scaled_sites(self, out: Tensor, W: Tensor, sites: Sequence[int], factors: Tensor) -> None:
        loops("cpu_rows").add_scaled_sites(array(out), array(W), _edges(sites), array(factors))

    def normalise_rows(self, W: Tensor, smallest: float = 1e-12) -> None:
        loops("cpu_rows").normalise_rows(array(W), smallest)

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
            # scalars in the tensors' own dtype; otherwise the loop would compute in double precision
            scalars = tuple(array(torch.tensor(numbers, dtype=p.dtype)))
            arrays = [array(tensor) for tensor in (p, gradient, mean, square)]
            if along is not None:
                loops("cpu_rows").adam_on_sphere(*arrays, array(along), scalars)
            else:
                loops("cpu_rows").adam(*(each.reshape(-1) for each in arrays), scalars)


def _are_many(entries: Tensor, W: Tensor) -> bool:
    """Return whether there are enough entries, per row of W and in total, for tiles to be faster."""
    return len(entries) >= MANY * len(W) and len(entries) * W.shape[1] >= LEAST


def _edges_of_chunks(column_offsets: Tensor) -> np.ndarray:
    """Divide columns among threads, with similar numbers of entries for each."""
    chunks = torch.get_num_threads()
    entry_edges = int(column_offsets[-1]) * np.arange(chunks + 1) // chunks
    edges = np.searchsorted(array(column_offsets), entry_edges)
    edges[-1] = len(column_offsets) - 1
    return edges


def _edges(sites: Sequence[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(sites)])
