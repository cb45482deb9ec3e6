"""Sparsity-inducing activation functions sigma (section 2.4).

Each maps pre-activations z to latents with sigma(z)_i in {0, z_i} and sigma(z) >= 0 (eq. 10), shape B x n_q. Adding one
is a class here and its name in `make_sigma`.
"""

from typing import Any

import torch
from torch import Tensor, nn


class ReLU(nn.Module):
    """max(0, z)."""

    def forward(self, pre_BQ: Tensor) -> Tensor:
        return torch.relu(pre_BQ)


class JumpReLU(nn.Module):
    """z H(z - theta) with a learned threshold a latent (eq. 6; Rajamanoharan et al. 2024b).

    The gradient with respect to theta is the straight-through estimate with a rectangular kernel of width
    ``bandwidth``; the one with respect to z is exact away from the jump. sigma(z) >= 0 needs theta >= 0, which the
    training loop restores after each step.
    """

    def __init__(self, n_q: int, init_threshold: float, bandwidth: float) -> None:
        super().__init__()
        self.threshold = nn.Parameter(torch.full((n_q,), init_threshold))
        self.bandwidth = bandwidth

    def forward(self, pre_BQ: Tensor) -> Tensor:
        return _Jump.apply(pre_BQ, self.threshold, self.bandwidth)

    def step(self, pre_BQ: Tensor) -> Tensor:
        """H(z - theta), whose gradient is the kernel's: the smoothed step that the L0 penalty sums."""
        return _Step.apply(pre_BQ, self.threshold, self.bandwidth)


class TopK(nn.Module):
    """The k largest positive pre-activations of each sample (eq. 7)."""

    def __init__(self, k: int) -> None:
        super().__init__()
        self.k = k

    def forward(self, pre_BQ: Tensor) -> Tensor:
        return self.select(pre_BQ, self.k)

    def select(self, pre_BQ: Tensor, k: int) -> Tensor:
        """Keep the k largest instead."""
        values_Bk, indices_Bk = torch.relu(pre_BQ).topk(k, dim=-1, sorted=False)
        return torch.zeros_like(pre_BQ).scatter(-1, indices_Bk, values_Bk)


class BatchTopK(nn.Module):
    """The k B largest positive pre-activations of a batch of B (Bussmann et al. 2024).

    Outside of training, a threshold that does not depend on the batch: the running mean over training of the smallest
    value that was kept. It is saved with the model; it is negative until the first training batch.
    """

    threshold: Tensor
    # The threshold falls as training goes on. A mean over some ten steps follows it; a longer memory (.99 and above, as
    # is common) is stale at the end of a run of hundreds of steps.
    DECAY = 0.9

    def __init__(self, k: int) -> None:
        super().__init__()
        self.k = k
        self.register_buffer("threshold", torch.tensor(-1.0))

    def forward(self, pre_BQ: Tensor) -> Tensor:
        if not self.training:
            if self.threshold < 0:
                raise RuntimeError("BatchTopK has no threshold before its first training batch")
            return torch.where(pre_BQ > self.threshold, pre_BQ, 0.0)
        latents_BQ = self.select(pre_BQ, self.k)
        with torch.no_grad():
            smallest = torch.where(latents_BQ > 0, latents_BQ, torch.inf).min()
            # a batch in which nothing is positive says nothing about the threshold
            smallest = torch.where(smallest.isinf(), self.threshold.clamp(min=0.0), smallest)
            mean = self.DECAY * self.threshold + (1 - self.DECAY) * smallest
            self.threshold.copy_(torch.where(self.threshold < 0, smallest, mean))
        return latents_BQ

    def select(self, pre_BQ: Tensor, k: int) -> Tensor:
        """Keep the k B largest of the batch instead."""
        positive_BQ = torch.relu(pre_BQ)
        values, indices = positive_BQ.flatten().topk(k * len(pre_BQ), sorted=False)
        return torch.zeros_like(positive_BQ).flatten().scatter(0, indices, values).view_as(pre_BQ)


Sigma = ReLU | JumpReLU | TopK | BatchTopK


def make_sigma(name: str, n_q: int, k: int | None, init_threshold: float, bandwidth: float) -> Sigma:
    """Return the activation function called ``name`` in configurations."""
    if name == "relu":
        return ReLU()
    if name == "jumprelu":
        return JumpReLU(n_q, init_threshold, bandwidth)
    if k is None:
        raise ValueError(f"activation {name} needs k")
    if name == "topk":
        return TopK(k)
    if name == "batchtopk":
        return BatchTopK(k)
    raise ValueError(f"unknown activation {name!r}")


def _kernel(pre: Tensor, threshold: Tensor, bandwidth: float) -> Tensor:
    """Rectangular kernel of unit mass and width ``bandwidth`` around the threshold."""
    return ((pre - threshold).abs() < bandwidth / 2).to(pre.dtype) / bandwidth


class _Jump(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pre: Tensor, threshold: Tensor, bandwidth: float) -> Tensor:
        ctx.save_for_backward(pre, threshold)
        ctx.bandwidth = bandwidth
        return torch.where(pre > threshold, pre, 0.0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        pre, threshold = ctx.saved_tensors
        to_threshold = -threshold * _kernel(pre, threshold, ctx.bandwidth) * gradient
        return gradient * (pre > threshold), to_threshold.sum(0), None


class _Step(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pre: Tensor, threshold: Tensor, bandwidth: float) -> Tensor:
        ctx.save_for_backward(pre, threshold)
        ctx.bandwidth = bandwidth
        return (pre > threshold).to(pre.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor, None]:
        pre, threshold = ctx.saved_tensors
        # the step's gradient reaches theta only (Rajamanoharan et al. 2024b, section 4)
        return None, (-_kernel(pre, threshold, ctx.bandwidth) * gradient).sum(0), None
