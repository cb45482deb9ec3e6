"""The torch backend of the sparse kernels, for GPUs without Triton, and the reference for tests of other backends."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional
from torch.optim.adam import adam as torch_adam

from sdlcore.sparse.kernels.interface import Backward, Descent, Product, SparseRows
from sdlcore.sparse.kernels.row_norms import RowNorms

_GATHERED = 1 << 25
"""Numbers that `dots` gathers at once."""


class TorchKernels:
    """`sdlcore.sparse.kernels.interface.Kernels` for any device. The torch backend keeps no buffers, because torch
    itself reuses memory on GPUs."""

    def __init__(self) -> None:
        self.row_norms = RowNorms()

    def take(self, shape: tuple[int, ...], like: Tensor) -> Tensor:
        return like.new_empty(shape)

    def give(self, tensor: Tensor) -> None:
        pass

    def largest(self, product: Product, k: int, bounds: Tensor | None = None) -> SparseRows:
        return _largest(_whole(product), k, product.b.dtype)

    def of_both_signs(self, product: Product, k: int) -> tuple[SparseRows, SparseRows]:
        whole = _whole(product)
        return _largest(whole, k, product.b.dtype), _largest(-whole, k, product.b.dtype)

    def above(self, product: Product, bounds: Tensor) -> SparseRows:
        whole = _whole(product)
        exceeds = whole > bounds.to(whole.dtype)
        offsets = functional.pad(exceeds.sum(1).cumsum(0), (1, 0))
        return _entries_at(whole, offsets, exceeds.nonzero()[:, 1].int(), product.b.dtype)

    def narrow(self, entries: SparseRows, k: int) -> SparseRows:
        return entries.where(self.ranks(entries.offsets, entries.values) < k)

    def transpose(self, offsets: Tensor, columns: Tensor, n_q: int) -> tuple[Tensor, Tensor, Tensor]:
        ordered, order = columns.sort(stable=True)
        edges = torch.arange(n_q + 1, device=columns.device, dtype=columns.dtype)
        return torch.searchsorted(ordered, edges), _rows_of(offsets, len(columns))[order].int(), order.int()

    def ranks(self, offsets: Tensor, values: Tensor) -> Tensor:
        rows = _rows_of(offsets, len(values))
        order = torch.argsort(values, descending=True, stable=True)
        order = order[torch.argsort(rows[order], stable=True)]
        places = torch.arange(len(order), device=order.device) - offsets[rows]
        return torch.empty_like(order).scatter_(0, order, places)

    def gather_sum(self, offsets: Tensor, columns: Tensor, values: Tensor, W: Tensor) -> Tensor:
        return functional.embedding_bag(
            columns.long(), W, offsets, mode="sum", per_sample_weights=values, include_last_offset=True
        )

    def dots(
        self, column_offsets: Tensor, rows: Tensor, order: Tensor, W: Tensor, x: Tensor, groups: int = 1
    ) -> Tensor:
        columns, samples = _rows_of(column_offsets, len(rows)), rows // groups
        at_once = max(1, _GATHERED // W.shape[1])
        parts = [
            torch.linalg.vecdot(W[columns[start : start + at_once]], x[samples[start : start + at_once]])
            for start in range(0, len(rows), at_once)
        ]
        values = torch.cat(parts) if parts else W.new_empty(0)
        return torch.empty_like(values).index_copy_(0, order.long(), values)

    def scatter_sum(
        self, column_offsets: Tensor, rows: Tensor, order: Tensor, values: Tensor, x: Tensor, groups: int = 1
    ) -> tuple[Tensor, Tensor]:
        out = self.gather_sum(column_offsets, rows // groups, values[order], x)
        return out, self.squared_norms(out)

    def decode_backward(
        self, column_offsets: Tensor, rows: Tensor, order: Tensor, values: Tensor, W: Tensor, gradient: Tensor
    ) -> Backward:
        to_values = self.dots(column_offsets, rows, order, W, gradient)
        to_W, squares = self.scatter_sum(column_offsets, rows, order, values, gradient)
        return Backward(to_values, to_W, squares, torch.linalg.vecdot(to_W, W))

    def squared_norms(self, W: Tensor) -> Tensor:
        return W.square().sum(1)

    def row_products(self, A: Tensor, W: Tensor) -> tuple[Tensor, Tensor]:
        return torch.linalg.vecdot(A, W), self.squared_norms(A)

    def site_norms(self, W: Tensor, sites: Sequence[int]) -> Tensor:
        return torch.stack([part.norm(dim=1) for part in W.split(list(sites), dim=1)], 1)

    def add_scaled_sites(self, out: Tensor, W: Tensor, sites: Sequence[int], factors: Tensor) -> None:
        parts = out.split(list(sites), dim=1), W.split(list(sites), dim=1), factors.unbind(1)
        for to, part, factor in zip(*parts, strict=True):
            to.addcmul_(part, factor[:, None])

    def normalise_rows(self, W: Tensor, smallest: float = 1e-12) -> None:
        W.div_(W.norm(dim=1, keepdim=True).clamp_(min=smallest))

    def adam(
        self,
        descents: Sequence[Descent],
        lr: float,
        betas: tuple[float, float],
        eps: float,
        scale: Tensor | None = None,
    ) -> None:
        on_sphere = [(each, each.along) for each in descents if each.along is not None]
        for each, along in on_sphere:
            each.gradient.addcmul_(along[:, None], each.p, value=-1)
        torch_adam(
            [each.p for each in descents],
            [each.gradient for each in descents],
            [each.mean for each in descents],
            [each.square for each in descents],
            [],
            [each.step for each in descents],
            fused=True,
            grad_scale=scale,  # torch divides gradients by it
            amsgrad=False,
            beta1=betas[0],
            beta2=betas[1],
            lr=lr,
            weight_decay=0.0,
            eps=eps,
            maximize=False,
        )
        for each, _ in on_sphere:
            self.normalise_rows(each.p)


def _whole(product: Product) -> Tensor:
    x, W, b, dtype, upper = product
    if upper is not None:
        raise ValueError("upper bounds of a product are computed only on CPUs, in int8")
    return torch.addmm(b.to(dtype), x.to(dtype), W.to(dtype).T)


def _largest(whole: Tensor, k: int, dtype: torch.dtype) -> SparseRows:
    # always k, positive or not: to omit some, their number would have to travel from a GPU to the host
    columns = whole.topk(k, dim=1, sorted=False).indices.sort(dim=1).values
    offsets = torch.arange(len(whole) + 1, device=whole.device) * k
    return _entries_at(whole, offsets, columns.flatten().int(), dtype)


def _entries_at(whole: Tensor, offsets: Tensor, columns: Tensor, dtype: torch.dtype) -> SparseRows:
    return SparseRows(offsets, columns, whole[_rows_of(offsets, len(columns)), columns].to(dtype))


def _rows_of(offsets: Tensor, n: int) -> Tensor:
    """Return the row of each of ``n`` entries."""
    return torch.repeat_interleave(torch.diff(offsets), output_size=n)
