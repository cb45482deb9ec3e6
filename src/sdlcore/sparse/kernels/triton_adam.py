"""Adam in one pass over memory, with rows that stay on the unit sphere.

All rows are updated, not only those that a batch touches. A row without a gradient still moves: its moments decay, and
the step is their ratio. Such steps could be deferred until the row is next read, and then made one by one, with the
same bits. But the search reads every encoder row in every step, so nothing can be deferred. A decoder row is read
where its latent is active: at 131,072 latents, k = 64 and a batch of 16,384, a latent has 8 active samples on average,
and few latents have none. So deferring could save little of half of Adam's reading.
"""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from sdlcore.sparse.kernels.interface import Descent

_BLOCK = 1024
"""Numbers that a program updates, if the parameter's rows are not on the sphere."""


@triton.jit
def _adam(
    p,
    gradient,
    mean,
    square,
    along,
    numbers,
    n,
    width,
    BETA1: tl.constexpr,
    BETA2: tl.constexpr,
    EPS: tl.constexpr,
    ON_SPHERE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Take a step of Adam with ``width`` numbers: one row, or any part of a parameter."""
    row, inner = tl.program_id(0).to(tl.int64), tl.arange(0, BLOCK)
    at = row * width + inner
    inside = (inner < width) & (at < n)
    factor, size, root = tl.load(numbers), tl.load(numbers + 1), tl.load(numbers + 2)
    weight = tl.load(p + at, mask=inside, other=0.0)
    slope = tl.load(gradient + at, mask=inside, other=0.0)
    if ON_SPHERE:
        slope -= tl.load(along + row) * weight
    slope *= factor
    m = BETA1 * tl.load(mean + at, mask=inside, other=0.0) + (1 - BETA1) * slope
    v = BETA2 * tl.load(square + at, mask=inside, other=0.0) + (1 - BETA2) * slope * slope
    tl.store(mean + at, m, mask=inside)
    tl.store(square + at, v, mask=inside)
    weight -= size * m / (tl.sqrt(v) * root + EPS)
    if ON_SPHERE:
        weight /= tl.maximum(tl.sqrt(tl.sum(weight * weight)), 1e-12)
    tl.store(p + at, weight, mask=inside)


def adam(
    descents: Sequence[Descent], lr: float, betas: tuple[float, float], eps: float, scale: Tensor | None = None
) -> None:
    """Take a step of Adam, in place; gradients are divided by ``scale`` (0-d)."""
    steps = [each.step for each in descents]
    torch._foreach_add_(steps, 1)
    # in double precision: 1 - beta^step is small at first
    step_numbers = torch.stack(steps).double()
    factors = torch.ones_like(step_numbers) if scale is None else (1 / scale.double()).expand_as(step_numbers)
    numbers = torch.stack([factors, lr / (1 - betas[0] ** step_numbers), (1 - betas[1] ** step_numbers) ** -0.5], 1)
    for (p, gradient, mean, square, _, along), descent_numbers in zip(
        descents, numbers.to(descents[0].p.dtype), strict=True
    ):
        on_sphere = along is not None
        width = p.shape[1] if on_sphere else _BLOCK
        block = triton.next_power_of_2(width)
        flat = p.view(-1), gradient.reshape(-1), mean.view(-1), square.view(-1)
        _adam[(triton.cdiv(p.numel(), width),)](
            *flat,
            along,
            descent_numbers,
            p.numel(),
            width,
            BETA1=betas[0],
            BETA2=betas[1],
            EPS=eps,
            ON_SPHERE=on_sphere,
            BLOCK=block,
            num_warps=min(16, max(4, block // 256)),
        )
