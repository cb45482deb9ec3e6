"""The Triton backend of the sparse kernels, for GPUs: torch's backend, with faster kernels for the main operations."""

from collections.abc import Sequence

import torch
from torch import Tensor

from sdlcore.sparse.kernels import triton_adam, triton_search
from sdlcore.sparse.kernels.interface import Backward, Descent, Product, SparseRows
from sdlcore.sparse.kernels.torch_kernels import TorchKernels
from sdlcore.sparse.kernels.triton_sums import sums


class TritonKernels(TorchKernels):
    """`sdlcore.sparse.kernels.interface.Kernels` for GPUs and float32 weights; other weights are searched by torch."""

    def largest(self, product: Product, k: int, bounds: Tensor | None = None) -> SparseRows:
        if not _is_ours(product):
            return super().largest(product, k)
        return triton_search.largest(product, k)

    def of_both_signs(self, product: Product, k: int) -> tuple[SparseRows, SparseRows]:
        return self.largest(product, k), self.largest(product.negated(), k)

    def above(self, product: Product, bounds: Tensor) -> SparseRows:
        if not _is_ours(product):
            return super().above(product, bounds)
        return triton_search.above(product, bounds)

    def gather_sum(self, offsets: Tensor, columns: Tensor, values: Tensor, W: Tensor) -> Tensor:
        return sums(offsets, columns, values, W).sums

    def dots(
        self, column_offsets: Tensor, rows: Tensor, order: Tensor, W: Tensor, x: Tensor, groups: int = 1
    ) -> Tensor:
        dots = sums(column_offsets, rows, None, x, W, groups).dots
        return torch.empty_like(dots).index_copy_(0, order.long(), dots)

    def scatter_sum(
        self, column_offsets: Tensor, rows: Tensor, order: Tensor, values: Tensor, x: Tensor, groups: int = 1
    ) -> tuple[Tensor, Tensor]:
        line_sums = sums(column_offsets, rows, values[order], x, groups=groups)
        return line_sums.sums, line_sums.squares

    def decode_backward(
        self, column_offsets: Tensor, rows: Tensor, order: Tensor, values: Tensor, W: Tensor, gradient: Tensor
    ) -> Backward:
        to_W, squares, products, dots = sums(column_offsets, rows, values[order], gradient, W)
        return Backward(torch.empty_like(dots).index_copy_(0, order.long(), dots), to_W, squares, products)

    def adam(
        self,
        descents: Sequence[Descent],
        lr: float,
        betas: tuple[float, float],
        eps: float,
        scale: Tensor | None = None,
    ) -> None:
        triton_adam.adam(descents, lr, betas, eps, scale)


def _is_ours(product: Product) -> bool:
    return product.W.dtype == torch.float32 and product.upper is None
