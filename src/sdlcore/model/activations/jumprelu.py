"""JumpReLU: the latents are the pre-activations above a threshold that each latent learns."""

from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from sdlcore.model.preactivations import Entries, Preactivations
from sdlcore.model.sigma import Sigma, above_interference
from sdlcore.model.support import Support
from sdlcore.run import ModelConfig


class JumpReLU(Sigma):
    """z H(z - theta) with a learned threshold a latent (eq. 6; Rajamanoharan et al. 2024b).

    The gradient with respect to theta is the straight-through estimate with a rectangular kernel; the one with respect
    to z is exact away from the jump. sigma(z) >= 0 needs theta >= 0. The kernel's width is ``bandwidth`` times the
    threshold at the start, so that what is right for one scale of activations is right for another.
    """

    start: Tensor

    def __init__(self, n_q: int, init_threshold: float, bandwidth: float) -> None:
        super().__init__()
        self.threshold = nn.Parameter(torch.full((n_q,), init_threshold, dtype=torch.float32))
        self.register_buffer("start", torch.tensor(init_threshold, dtype=torch.float32))
        self.relative_bandwidth = bandwidth

    @classmethod
    def of(cls, config: ModelConfig) -> Self:
        return cls(config.n_q, config.init_threshold, config.bandwidth)

    @property
    def bandwidth(self) -> Tensor:
        """Width of the kernel, in the units of pre-activations (0-d)."""
        return self.relative_bandwidth * self.start

    @torch.no_grad()
    def start_at(self, threshold: Tensor, b_enc: Tensor) -> None:
        """Start all thresholds at one."""
        self.start.copy_(threshold)
        self.threshold.fill_(threshold)

    def initial(self, name: str) -> Tensor:
        return self.start

    def select(self, pre_BQ: Preactivations, slack: float = 1.0) -> Entries:
        # in training also the entries below their threshold that the kernel reaches
        reach = self.bandwidth / 2 if self.training else 0.0
        return pre_BQ.above(self.threshold.detach() - reach)

    def values(self, pre_N: Tensor, support: Support) -> Tensor:
        return _Jump.apply(pre_N, self.threshold.index_select(0, support.columns), self.bandwidth)

    def step(self, pre_N: Tensor, support: Support) -> Tensor:
        """H(z - theta), whose gradient is the kernel's: the smoothed step that the L0 penalty sums (N)."""
        return _Step.apply(pre_N.detach(), self.threshold.index_select(0, support.columns), self.bandwidth)

    def oracle(self, z_BN: np.ndarray, true_p: np.ndarray) -> np.ndarray:
        return above_interference(z_BN, true_p)

    @torch.no_grad()
    def constrain(self) -> None:
        self.threshold.clamp_(min=0.0)


SIGMA = JumpReLU


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
