"""Sparsity-inducing activation functions sigma (section 2.4).

Each maps pre-activations z to latents with sigma(z)_i in {0, z_i} and sigma(z) >= 0 (eq. 10; Gated rescales z_i). It
does so in two steps, so that nothing else need be touched: `select` finds, among all pre-activations of a batch
(B x n_q), the entries whose latent may differ from zero or passes a gradient on, and `forward` gives the latents there
(N). Adding one is a class here and its name in `make_sigma`.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from sdlcore.model.kernels.interface import Kernels, SparseRows
from sdlcore.model.preactivations import Entries, Preactivations
from sdlcore.model.support import Support, keep
from sdlcore.processes import ALONE, Group, Processes


class Sigma(nn.Module):
    """What all have in common."""

    selects = False
    """Whether a given number of latents is kept."""
    processes: Processes = ALONE
    """Those that have other latents, or other samples of the batch."""

    def select(self, pre_BQ: Preactivations, slack: float = 1.0) -> Entries:
        """Return the entries that `forward` needs. Where a number of them is kept, ``slack`` times as many, for
        pre-activations that are only near enough to tell which they might be."""
        return pre_BQ.above(pre_BQ.product.b.new_zeros(pre_BQ.shape[1]))

    def forward(self, pre_N: Tensor, support: Support) -> Tensor:
        """Return the latents (N) of the pre-activations at the entries."""
        raise NotImplementedError

    def penalised(self, pre_N: Tensor, values_N: Tensor) -> Tensor:
        """Return what the L1 penalty sums (N)."""
        return values_N

    def initial(self, name: str) -> float | Tensor:
        """Return the value at which the latents' parameters called ``name`` start."""
        raise KeyError(name)

    def constrain(self) -> None:
        """Put parameters back where they must be."""


class ReLU(Sigma):
    """max(0, z)."""

    def forward(self, pre_N: Tensor, support: Support) -> Tensor:
        return torch.relu(pre_N)


class JumpReLU(Sigma):
    """z H(z - theta) with a learned threshold a latent (eq. 6; Rajamanoharan et al. 2024b).

    The gradient with respect to theta is the straight-through estimate with a rectangular kernel; the one with respect
    to z is exact away from the jump. sigma(z) >= 0 needs theta >= 0. The kernel's width is ``bandwidth`` times the
    threshold at the start, so that what is right for one scale of activations is right for another.
    """

    start: Tensor

    def __init__(self, n_q: int, init_threshold: float, bandwidth: float) -> None:
        super().__init__()
        self.threshold = nn.Parameter(torch.full((n_q,), init_threshold))
        self.register_buffer("start", torch.tensor(init_threshold))
        self.relative_bandwidth = bandwidth

    @property
    def bandwidth(self) -> Tensor:
        """Width of the kernel, in the units of pre-activations (0-d)."""
        return self.relative_bandwidth * self.start

    @torch.no_grad()
    def start_at(self, threshold: Tensor) -> None:
        """Start all thresholds at one."""
        self.start.copy_(threshold)
        self.threshold.fill_(threshold)

    def initial(self, name: str) -> Tensor:
        return self.start

    def select(self, pre_BQ: Preactivations, slack: float = 1.0) -> Entries:
        # in training also the entries below their threshold that the kernel reaches
        reach = self.bandwidth / 2 if self.training else 0.0
        return pre_BQ.above(self.threshold.detach() - reach)

    def forward(self, pre_N: Tensor, support: Support) -> Tensor:
        return _Jump.apply(pre_N, self.threshold.index_select(0, support.columns), self.bandwidth)

    def step(self, pre_N: Tensor, support: Support) -> Tensor:
        """H(z - theta), whose gradient is the kernel's: the smoothed step that the L0 penalty sums (N)."""
        return _Step.apply(pre_N.detach(), self.threshold.index_select(0, support.columns), self.bandwidth)

    @torch.no_grad()
    def constrain(self) -> None:
        self.threshold.clamp_(min=0.0)


class Gated(Sigma):
    """(e^r z + c) H(z) with a scale r and an offset c a latent (Rajamanoharan et al. 2024a).

    z is the gate's pre-activation; the magnitude's, e^r (W_E x) + b_mag, is the same up to c = b_mag - e^r b_gate. The
    gate learns through the L1 penalty and the gate's own reconstruction (`sdlcore.losses.gate`).
    """

    def __init__(self, n_q: int) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(n_q))
        self.offset = nn.Parameter(torch.zeros(n_q))

    def initial(self, name: str) -> float:
        return 0.0

    def forward(self, pre_N: Tensor, support: Support) -> Tensor:
        scale, offset = (p.index_select(0, support.columns) for p in (self.log_scale, self.offset))
        return torch.where(pre_N > 0, torch.relu(scale.exp() * pre_N + offset), 0.0)

    def penalised(self, pre_N: Tensor, values_N: Tensor) -> Tensor:
        return torch.relu(pre_N)


class Selecting(Sigma):
    """Keeps the largest positive pre-activations."""

    selects = True

    def __init__(self, k: int) -> None:
        super().__init__()
        self.k = k

    def forward(self, pre_N: Tensor, support: Support) -> Tensor:
        return torch.relu(pre_N)

    def narrow(self, found: Entries) -> Entries:
        """Return those of the entries that are kept where there are no others."""
        raise NotImplementedError

    def ranks(self, pre_N: Tensor, support: Support) -> Tensor:
        """Return for each entry (N) the number r such that k latents keep it if and only if r < k."""
        raise NotImplementedError


class TopK(Selecting):
    """The k largest positive pre-activations of each sample (eq. 7)."""

    def select(self, pre_BQ: Preactivations, slack: float = 1.0) -> Entries:
        found = pre_BQ.largest(min(round(slack * self.k), pre_BQ.shape[1]))
        if self.processes.latents.size == 1:
            return found
        return _kept(found, self.ranks(found.pre, found.support) < round(slack * self.k))

    def narrow(self, found: Entries) -> Entries:
        support, pre_N = found
        if self.processes.latents.size > 1:
            return _kept(found, self.ranks(pre_N, support) < self.k)
        offsets, columns, values = support.kernels.narrow(SparseRows(support.offsets, support.columns, pre_N), self.k)
        return Entries(Support(offsets, columns, support.n_q, support.kernels), values)

    def ranks(self, pre_N: Tensor, support: Support) -> Tensor:
        latents = self.processes.latents
        if latents.size == 1:
            return support.kernels.ranks(support.offsets, pre_N)
        width = int(torch.diff(support.offsets).max())
        places_N = torch.arange(len(pre_N), device=pre_N.device) - support.offsets[support.rows]
        values_BK = pre_N.new_full((support.n_rows, width), -torch.inf)
        values_BK[support.rows, places_N] = pre_N
        return ranks_among(values_BK, latents, support.kernels)[support.rows, places_N]


class BatchTopK(Selecting):
    """The k B largest positive pre-activations of a batch of B (Bussmann et al. 2024).

    Outside of training, a threshold that does not depend on the batch: the running mean over training of the smallest
    value that was kept. It is saved with the model; it is negative until the first training batch.
    """

    threshold: Tensor
    # The threshold falls as training goes on. A mean over some ten steps follows it; a longer memory (.99 and above, as
    # is common) is stale at the end of a run of hundreds of steps.
    DECAY = 0.9

    def __init__(self, k: int) -> None:
        super().__init__(k)
        self.register_buffer("threshold", torch.tensor(-1.0))
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
        return _kept(found, mask_N)

    def narrow(self, found: Entries) -> Entries:
        if not self.training:
            return found
        everyone = self.processes.all
        batch = found.support.n_samples * self.processes.samples.size
        wanted = min(self.k * batch, sum(everyone.counts(len(found.pre))))
        return _kept(found, _largest(found.pre, wanted, everyone)[1]) if wanted else found

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
        values_N = torch.relu(pre_N)
        if self.training:
            self._follow(values_N.detach())
        return values_N

    def ranks(self, pre_N: Tensor, support: Support) -> Tensor:
        everyone = self.processes.all
        every = everyone.gather(pre_N)
        order = torch.argsort(every.flatten(), descending=True, stable=True)
        places = torch.arange(len(order), device=order.device) // (support.n_samples * self.processes.samples.size)
        return torch.empty_like(order).scatter_(0, order, places).view(every.shape)[everyone.rank, : len(pre_N)]

    @torch.no_grad()
    def _follow(self, values_N: Tensor) -> None:
        # a batch in which nothing is positive says nothing about the threshold
        infinity = values_N.new_full((1,), torch.inf)
        smallest = torch.cat([torch.where(values_N > 0, values_N, torch.inf), infinity]).min()
        smallest = self.processes.all.least(smallest)
        smallest = torch.where(smallest.isinf(), self.threshold.clamp(min=0.0), smallest)
        mean = self.DECAY * self.threshold + (1 - self.DECAY) * smallest
        self.threshold.copy_(torch.where(self.threshold < 0, smallest, mean))


_SAMPLES = 64
"""Samples of a batch that BatchTopK's first bound is guessed from."""
_MARGIN = 0.9
"""Its next bound, as a share of the smallest pre-activation that was kept."""


def make_sigma(name: str, n_q: int, k: int | None, init_threshold: float, bandwidth: float) -> Sigma:
    """Return the activation function called ``name`` in configurations."""
    if name == "relu":
        return ReLU()
    if name == "jumprelu":
        return JumpReLU(n_q, init_threshold, bandwidth)
    if name == "gated":
        return Gated(n_q)
    if k is None:
        raise ValueError(f"activation {name} needs k")
    if name == "topk":
        return TopK(k)
    if name == "batchtopk":
        return BatchTopK(k)
    raise ValueError(f"unknown activation {name!r}")


def ranks_among(values_BK: Tensor, group: Group, kernels: Kernels) -> Tensor:
    """Return the place (B x K) of each value among those of its row in all processes, descending from 0; of equal
    values the earlier process's, and in it the earlier, comes first."""
    every = group.gather(values_BK)
    size, B, width = every.shape
    offsets = torch.arange(B + 1, device=every.device) * size * width
    places = kernels.ranks(offsets, every.transpose(0, 1).flatten()).view(B, size, width)
    return places[:, group.rank, : values_BK.shape[1]]


def _kept(found: Entries, mask_N: Tensor) -> Entries:
    support, places = keep(found.support, mask_N)
    return Entries(support, found.pre[places])


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


def _kernel(pre: Tensor, threshold: Tensor, bandwidth: Tensor) -> Tensor:
    """Rectangular kernel of unit mass and width ``bandwidth`` around the threshold."""
    return ((pre - threshold).abs() < bandwidth / 2).to(pre.dtype) / bandwidth


class _Jump(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pre: Tensor, threshold: Tensor, bandwidth: Tensor) -> Tensor:
        ctx.save_for_backward(pre, threshold)
        ctx.bandwidth = bandwidth
        return torch.where(pre > threshold, pre, 0.0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        pre, threshold = ctx.saved_tensors
        to_threshold = -threshold * _kernel(pre, threshold, ctx.bandwidth) * gradient
        return gradient * (pre > threshold), to_threshold, None


class _Step(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pre: Tensor, threshold: Tensor, bandwidth: Tensor) -> Tensor:
        ctx.save_for_backward(pre, threshold)
        ctx.bandwidth = bandwidth
        return (pre > threshold).to(pre.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor, None]:
        pre, threshold = ctx.saved_tensors
        # the step's gradient reaches theta only (Rajamanoharan et al. 2024b, section 4)
        return None, -_kernel(pre, threshold, ctx.bandwidth) * gradient, None
