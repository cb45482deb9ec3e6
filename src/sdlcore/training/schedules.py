"""Everything that a training schedules: values that change with the step, and what is done after some steps only.

Steps are counted from 0. Training takes all of it from `scheduled`, and its history shows it.
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


class Scheduled(NamedTuple):
    """The scheduled values of a step, and what is due after it."""

    lr: float
    k: int | None
    """Active latents of a sample; None if their number does not change."""
    penalty: float
    """Factor of the weights of penalties such as l1 and l0."""
    anchoring: float
    """Factor of lambda_anchor."""
    exponent: float
    """Exponent of the latents in l1."""
    next_exponent: float
    """Exponent in the next step."""
    resample: bool
    """Whether dead latents are resampled after the step."""
    reorder: bool
    """Whether the latents are sorted after the step."""
    row: bool
    """Whether the history gets a row after the step."""


def scheduled(config: RunConfig, step: int, peak: float) -> Scheduled:
    """Return the values of a step, for a run whose peak learning rate is ``peak``."""
    model, loss, training = config.model, config.loss, config.training
    steps, done = training.steps, step + 1
    down = fall(step, steps, training.lr_decay)
    if training.lr_decay_shape == "cosine":
        down = (1 - math.cos(math.pi * down)) / 2
    k = None
    if model.k is not None and training.k_start is not None:
        k = round(model.k + (training.k_start - model.k) * fall(step, steps, training.k_decay, training.k_decay))
    every, last = training.resample_every, training.resample_until * steps
    return Scheduled(
        lr=peak * min(rise(step, steps, training.lr_warmup), down),
        k=k,
        penalty=rise(step, steps, loss.penalty_warmup),
        anchoring=fall(step, steps, loss.anchor_fall, 1.0 if loss.anchor_until is None else loss.anchor_until),
        exponent=_exponent(config, step),
        next_exponent=_exponent(config, done),
        resample=every is not None and done % every == 0 and done <= last,
        reorder=training.reorder_every is not None and done % training.reorder_every == 0,
        row=done % training.log_every == 0 or done == steps,
    )


def _exponent(config: RunConfig, step: int) -> float:
    end = config.loss.l1_exponent_end
    if end is None:
        return 1.0
    return 1 - (1 - end) * (1 - fall(step, config.training.steps, 1 - config.loss.l1_anneal_start))
