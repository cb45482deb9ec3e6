"""BatchTopK: keep the k B largest pre-activations of a batch, and learn the threshold for single samples."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from sdlcore.model.preactivations import Entries, Preactivations
from sdlcore.model.sigma import Selecting, kept, largest_codes
from sdlcore.model.support import Support
from sdlcore.processes import Group

_SAMPLES = 64
"""Samples of a batch that BatchTopK's first bound is guessed from."""
_MARGIN = 0.9
"""Its next bound, as a share of the smallest pre-activation that was kept."""


class BatchTopK(Selecting):
    """The k B largest positive pre-activations of a batch of B (Bussmann et al. 2024).

    Outside of training, a threshold that does not depend on the batch: the running mean over training of the smallest
    value that was kept. It is saved with the model; it is negative until the first training batch.
    """

    threshold: Tensor
    # The threshold falls as training goes on. A mean over some ten steps follows it; a longer memory (.99 and above, as
    # is common) is stale at the end of a run of hundreds of steps.
    DECAY = 0.9

    def __init__(self, k: int | None) -> None:
        super().__init__(k)
        self.register_buffer("threshold", torch.tensor(-1.0, dtype=torch.float32))
        self._edge: Tensor | None = None

    def select(self, pre_BQ: Preactivations, slack: float = 1.0) -> Entries:
        B, n_q = pre_BQ.shape
        if not self.training:
            if self.threshold < 0:
                raise RuntimeError("BatchTopK has no threshold before its first training batch")
            return pre_BQ.above(self.threshold.expand(n_q))
        # No sort of the whole batch: a bound that a few too many exceed is known from the batch before, or from some
        # samples, and these few are sorted. A bound that was wrong costs time and changes nothing.
        everyone = self.processes.all
        wanted = min(round(slack * self.k * B * self.processes.samples.size), B * n_q * everyone.size)
        for bound in self._bounds(pre_BQ, wanted):
            found = pre_BQ.above(bound.expand(n_q))
            number = sum(everyone.counts(len(found.pre)))
            if number >= wanted:
                break
        self._edge = None
        if number < wanted:
            return found
        self._edge, mask_N = _largest(found.pre, wanted, everyone)
        return kept(found, mask_N)

    def narrow(self, found: Entries) -> Entries:
        if not self.training:
            return found
        everyone = self.processes.all
        batch = found.support.n_samples * self.processes.samples.size
        wanted = min(self.k * batch, sum(everyone.counts(len(found.pre))))
        return kept(found, _largest(found.pre, wanted, everyone)[1]) if wanted else found

    def _bounds(self, pre_BQ: Preactivations, wanted: int) -> Iterator[Tensor]:
        """Give bounds on the ``wanted`` largest, ever lower, down to zero."""
        B = pre_BQ.shape[0]
        if self._edge is not None:
            yield _MARGIN * self._edge
        some = pre_BQ.some(max(1, B // _SAMPLES))
        place = min(some.numel(), int(1.5 * wanted / self.processes.all.size * len(some) / B) + 4)
        guess = self.processes.all.least(some.flatten().topk(place).values[-1])
        if guess > 0:
            yield guess
        yield pre_BQ.product.b.new_zeros(())

    def forward(self, pre_N: Tensor, support: Support) -> Tensor:
        if self.training:
            self._update_threshold(torch.relu(pre_N.detach()))
        return self.values(pre_N, support)

    def ranks(self, pre_N: Tensor, support: Support) -> Tensor:
        everyone = self.processes.all
        every = everyone.gather(pre_N)
        order = torch.argsort(every.flatten(), descending=True, stable=True)
        places = torch.arange(len(order), device=order.device) // (support.n_samples * self.processes.samples.size)
        return torch.empty_like(order).scatter_(0, order, places).view(every.shape)[everyone.rank, : len(pre_N)]

    @torch.no_grad()
    def _update_threshold(self, values_N: Tensor) -> None:
        # a batch in which nothing is positive says nothing about the threshold
        infinity = values_N.new_full((1,), torch.inf)
        smallest = torch.cat([torch.where(values_N > 0, values_N, torch.inf), infinity]).min()
        smallest = self.processes.all.least(smallest)
        smallest = torch.where(smallest.isinf(), self.threshold.clamp(min=0.0), smallest)
        mean = self.DECAY * self.threshold + (1 - self.DECAY) * smallest
        self.threshold.copy_(torch.where(self.threshold < 0, smallest, mean))

    def largest(self, z_BN: np.ndarray) -> np.ndarray:
        if self.k >= z_BN.shape[1]:
            return z_BN
        return largest_codes(z_BN.reshape(1, -1), self.k * len(z_BN)).reshape(z_BN.shape)


SIGMA = BatchTopK


def _largest(values_N: Tensor, number: int, group: Group) -> tuple[Tensor, Tensor]:
    """Return the least of the ``number`` largest values in all processes, and which of this one's are among these.

    Of equal ones the first are, and those of the first processes.
    """
    told_N = values_N
    if group.size > 1 and len(values_N) > number:
        told_N = values_N.topk(number, sorted=False).values
    every = group.gather(told_N)
    edge = every.flatten().kthvalue(every.numel() - number + 1).values
    mask = values_N > edge
    room = number - int((every > edge).sum()) - int((every[: group.rank] == edge).sum())
    at_edge = (values_N == edge).nonzero().squeeze(1)
    mask[at_edge[: max(0, room)]] = True
    return edge, mask
