"""Searches across processes that divide latents or samples; they find the same entries as a single process."""

import torch
from torch import Tensor

from sdlcore.parallel.groups import Group, Processes
from sdlcore.sparse.kernels.interface import Kernels
from sdlcore.sparse.preactivations import Entries, Preactivations
from sdlcore.sparse.search import LargestPerBatch, LargestPerSample, Search
from sdlcore.sparse.support import Support, select_entries


def divided(search: Search, processes: Processes) -> Search:
    """Return a search that, over all processes, finds the same entries as ``search`` in one process.

    `Above` needs no other process. `LargestPerSample` needs the processes with other latents, `LargestPerBatch` all
    processes.
    """
    if isinstance(search, LargestPerBatch) and processes.all.size > 1:
        return _LargestPerBatch(search, processes)
    if isinstance(search, LargestPerSample) and processes.latents.size > 1:
        return _LargestPerSample(search.k, search.signed, processes.latents)
    return search


def ranks_among(values_BK: Tensor, group: Group, kernels: Kernels) -> Tensor:
    """Return the rank (B x K) of each value among its row's values in all processes, from 0 for the largest.

    Equal values are ranked by process, then by position.
    """
    every = group.gather(values_BK)
    size, B, width = every.shape
    offsets = torch.arange(B + 1, device=every.device) * size * width
    places = kernels.ranks(offsets, every.transpose(0, 1).flatten()).view(B, size, width)
    return places[:, group.rank, : values_BK.shape[1]]


class _LargestPerSample(LargestPerSample):
    def __init__(self, k: int, signed: bool, latents: Group) -> None:
        super().__init__(k, signed)
        self.latents = latents

    def find(self, pre_BQ: Preactivations, slack: float = 1.0) -> Entries:
        entries = super().find(pre_BQ, slack)
        return select_entries(entries, self.ranks(entries.pre, entries.support) < round(slack * self.k))

    def narrow(self, entries: Entries) -> Entries:
        return select_entries(entries, self.ranks(entries.pre, entries.support) < self.k)

    def ranks(self, pre_N: Tensor, support: Support) -> Tensor:
        width = int(torch.diff(support.offsets).max())
        places_N = torch.arange(len(pre_N), device=pre_N.device) - support.offsets[support.rows]
        values_BK = pre_N.new_full((support.n_rows, width), -torch.inf)
        values_BK[support.rows, places_N] = pre_N.abs() if self.signed else pre_N
        return ranks_among(values_BK, self.latents, support.kernels)[support.rows, places_N]


class _LargestPerBatch(LargestPerBatch):
    def __init__(self, search: LargestPerBatch, processes: Processes) -> None:
        self.declared = search
        self.k = search.k
        self.everyone = processes.all
        self.processes = processes.all.size
        self.sample_groups = processes.samples.size

    @property
    def edge(self) -> Tensor | None:
        return self.declared.edge

    @edge.setter
    def edge(self, edge: Tensor | None) -> None:
        self.declared.edge = edge

    def ranks(self, pre_N: Tensor, support: Support) -> Tensor:
        every = self.everyone.gather(pre_N)
        order = torch.argsort(every.flatten(), descending=True, stable=True)
        places = torch.arange(len(order), device=order.device) // (support.n_samples * self.sample_groups)
        return torch.empty_like(order).scatter_(0, order, places).view(every.shape)[self.everyone.rank, : len(pre_N)]

    def _total(self, n: int) -> int:
        return sum(self.everyone.counts(n))

    def _least(self, x: Tensor) -> Tensor:
        return self.everyone.least(x)

    def _largest(self, values_N: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """Return the same as in one process; of equal values, earlier processes select theirs first."""
        group = self.everyone
        told_N = values_N.topk(number, sorted=False).values if len(values_N) > number else values_N
        every = group.gather(told_N)
        edge = every.flatten().kthvalue(every.numel() - number + 1).values
        mask = values_N > edge
        room = number - int((every > edge).sum()) - int((every[: group.rank] == edge).sum())
        at_edge = (values_N == edge).nonzero().squeeze(1)
        mask[at_edge[: max(0, room)]] = True
        return edge, mask
