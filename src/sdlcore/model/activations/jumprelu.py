"""JumpReLU: latents are pre-activations above a learned threshold for each latent."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sdlcore.model.activation import Activation
from sdlcore.sparse.search import Above, Search
from sdlcore.sparse.support import Support


class JumpReLU(Activation):
    """z H(z - theta) with a learned threshold theta for each latent (eq. 6; Rajamanoharan et al. 2024b).

    The gradient with respect to z is exact away from the jump. The gradient with respect to theta is the
    straight-through estimate with a rectangular kernel. The kernel's width is ``bandwidth`` times the initial
    threshold, so that one setting fits activations of any scale.
    """

    def __init__(self, n_q: int, init_threshold: float, bandwidth: float) -> None:
        super().__init__()
        self.add_threshold(n_q, init_threshold)
        self.relative_bandwidth = bandwidth

    @property
    def bandwidth(self) -> Tensor:
        """Width of the kernel in the units of pre-activations (0-d); the setting of this name is relative."""
        return self.relative_bandwidth * self.start

    def forward(self, pre: Tensor) -> Tensor:
        return _Jump.apply(pre, self.threshold.expand_as(pre), self.bandwidth)

    def search(self) -> Search:
        # in training, also the entries below their threshold that the kernel reaches
        return Above(self.threshold.detach() - (self.bandwidth / 2 if self.training else 0.0))

    def values(self, pre: Tensor, support: Support) -> Tensor:
        return _Jump.apply(pre, support.per_latent(self.threshold), self.bandwidth)


ACTIVATION = JumpReLU


def step(pre: Tensor, threshold: Tensor, bandwidth: Tensor) -> Tensor:
    """Return H(z - theta). Only theta gets a gradient, from the kernel (Rajamanoharan et al. 2024b, sec. 4).

    Parameters
    ----------
    pre, threshold
        Pre-activations and their thresholds, of the same shape.
    bandwidth
        Width of the kernel (0-d).
    """
    return _Step.apply(pre.detach(), threshold, bandwidth)


def _kernel(pre: Tensor, threshold: Tensor, bandwidth: Tensor) -> Tensor:
    """Return the rectangular kernel of unit mass and width ``bandwidth`` around the threshold."""
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
        return None, -_kernel(pre, threshold, ctx.bandwidth) * gradient, None
