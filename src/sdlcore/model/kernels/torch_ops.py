"""The sparse kernels in torch operators: what GPUs use, and what the CPU's are tested against.

Signatures and meaning are those of `sdlcore.model.kernels`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

_GATHERED = 1 << 25
"""Numbers gathered at once by `dots`."""


def topk(pre: Tensor, k: int) -> tuple[Tensor, Tensor]:
    # always k, positive or not: to leave some out, their number would have to travel from a GPU to the host
    columns = pre.topk(k, dim=1, sorted=False).indices.sort(dim=1).values
    return torch.arange(len(pre) + 1, device=pre.device) * k, columns.flatten().int()


def above(pre: Tensor, bounds: Tensor) -> tuple[Tensor, Tensor]:
    exceeds = pre > bounds.to(pre.dtype)
    offsets = functional.pad(exceeds.sum(1).cumsum(0), (1, 0))
    return offsets, exceeds.nonzero()[:, 1].int()


def take(pre: Tensor, offsets: Tensor, columns: Tensor) -> Tensor:
    return pre[rows_of(offsets, len(columns)), columns]


def rows_of(offsets: Tensor, n: int) -> Tensor:
    return torch.repeat_interleave(torch.diff(offsets), output_size=n)


def transpose(offsets: Tensor, columns: Tensor, n_q: int) -> tuple[Tensor, Tensor, Tensor]:
    ordered, order = columns.sort(stable=True)
    edges = torch.arange(n_q + 1, device=columns.device, dtype=columns.dtype)
    return torch.searchsorted(ordered, edges), rows_of(offsets, len(columns))[order].int(), order.int()


def ranks(offsets: Tensor, values: Tensor) -> Tensor:
    rows = rows_of(offsets, len(values))
    order = torch.argsort(values, descending=True, stable=True)
    order = order[torch.argsort(rows[order], stable=True)]
    places = torch.arange(len(order), device=order.device) - offsets[rows]
    return torch.empty_like(order).scatter_(0, order, places)


def gather_sum(offsets: Tensor, columns: Tensor, values: Tensor, W: Tensor) -> Tensor:
    return functional.embedding_bag(
        columns.long(), W, offsets, mode="sum", per_sample_weights=values, include_last_offset=True
    )


def dots(column_offsets: Tensor, rows: Tensor, order: Tensor, W: Tensor, x: Tensor, groups: int) -> Tensor:
    columns, samples = rows_of(column_offsets, len(rows)), rows // groups
    at_once = max(1, _GATHERED // W.shape[1])
    parts = [
        torch.linalg.vecdot(W[columns[start : start + at_once]], x[samples[start : start + at_once]])
        for start in range(0, len(rows), at_once)
    ]
    values = torch.cat(parts) if parts else W.new_empty(0)
    return torch.empty_like(values).index_copy_(0, order.long(), values)


def scatter_sum(
    column_offsets: Tensor, rows: Tensor, order: Tensor, values: Tensor, x: Tensor, groups: int
) -> tuple[Tensor, Tensor]:
    out = gather_sum(column_offsets, rows // groups, values[order], x)
    return out, squared_norms(out)


def decode_backward(
    column_offsets: Tensor, rows: Tensor, order: Tensor, values: Tensor, W: Tensor, gradient: Tensor
) -> tuple[Tensor, ...]:
    to_W, squares = scatter_sum(column_offsets, rows, order, values, gradient, 1)
    return dots(column_offsets, rows, order, W, gradient, 1), to_W, squares, torch.linalg.vecdot(to_W, W)


def squared_norms(W: Tensor) -> Tensor:
    return W.square().sum(1)


def site_norms(W: Tensor, sites: Sequence[int]) -> Tensor:
    return torch.stack([part.norm(dim=1) for part in W.split(list(sites), dim=1)], 1)


def add_scaled_sites(out: Tensor, W: Tensor, sites: Sequence[int], factors: Tensor) -> None:
    for to, part, factor in zip(
        out.split(list(sites), dim=1), W.split(list(sites), dim=1), factors.unbind(1), strict=True
    ):
        to.addcmul_(part, factor[:, None])


def normalise_rows(W: Tensor, smallest: float) -> None:
    W.div_(W.norm(dim=1, keepdim=True).clamp_(min=smallest))


def row_products(A: Tensor, W: Tensor) -> tuple[Tensor, Tensor]:
    return torch.linalg.vecdot(A, W), squared_norms(A)
