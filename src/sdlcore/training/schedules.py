"""Schedules of learning rate, penalties, anchors and k: every value that changes with the step, by two ramps.

Steps are counted from 0. `in_force` returns all values of a step; training uses these, and its history shows them.
"""

import math
from typing import NamedTuple

from sdlcore.run import RunConfig


def rise(step: int, steps: int, share: float) -> float:
    """Return a ramp that rises linearly to 1 over the first ``share`` of the steps, and stays there."""
    return min(1.0, (step + 1) / (share * steps)) if share else 1.0


def fall(step: int, steps: int, share: float, end: float = 1.0) -> float:
    """Return a ramp that is 1, falls linearly over ``share`` of the steps, and is 0 from ``end`` of the steps on."""
    left = end * steps - step
    if left <= 0:
        return 0.0
    return min(1.0, left / (share * steps)) if share else 1.0


def learning_rate(step: int, steps: int, peak: float, warmup: float, decay: float, shape: str = "linear") -> float:
    """Rise linearly over the first ``warmup`` share of the steps, fall to zero over the last ``decay``.

    The fall is linear, or half a period of a cosine where ``shape`` is cosine.
    """
    down = fall(step, steps, decay)
    if shape == "cosine":
        down = (1 - math.cos(math.pi * down)) / 2
    return peak * min(rise(step, steps, warmup), down)


def scheduled_k(step: int, steps: int, k: int, start: int | None, share: float) -> int:
    """Return k, or on the way to it from ``start``, which it reaches after the first ``share`` of the steps."""
    return k if start is None else round(k + (start - k) * fall(step, steps, share, share))


class InForce(NamedTuple):
    """The scheduled values of a step."""

    lr: float
    k: int | None
    """Active latents of a sample; None for an activation without k."""
    penalty: float
    """Factor of the weights of penalties such as l1 and l0."""
    anchoring: float
    """Factor of lambda_anchor."""
    exponent: float
    """Exponent of the latents in l1."""


def in_force(config: RunConfig, step: int, peak: float) -> InForce:
    """Return the values of a step, for a run whose peak learning rate is ``peak``."""
    training, loss, k = config.training, config.loss, config.model.k
    steps = training.steps
    end = loss.l1_exponent_end
    until = 1.0 if loss.anchor_until is None else loss.anchor_until
    return InForce(
        lr=learning_rate(step, steps, peak, training.lr_warmup, training.lr_decay, training.lr_decay_shape),
        k=None if k is None else scheduled_k(step, steps, k, training.k_start, training.k_decay),
        penalty=rise(step, steps, loss.penalty_warmup),
        anchoring=fall(step, steps, loss.anchor_fall, until),
        exponent=1.0 if end is None else 1 - (1 - end) * (1 - fall(step, steps, 1 - loss.l1_anneal_start)),
    )
