"""Schedules of a training: values that change with the step, and actions that follow only some steps.

Steps are counted from 0. `scheduled` returns all values and actions of a step. Only `PenaltyFactor` also depends on
earlier steps. The history shows the values that change.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from sdlcore.config import Config, LossConfig
from sdlcore.model.losses.term import term_of

NEXT_L1 = "l1 of the next exponent"
"""Key of the L1 penalty of a step's latents with the exponent of the step after it."""


def rise(step: int, steps: int, share: float) -> float:
    """Return a ramp that rises linearly to 1 over the first ``share`` of the steps, and stays there."""
    return min(1.0, (step + 1) / (share * steps)) if share else 1.0


def fall(step: int, steps: int, share: float, end: float = 1.0) -> float:
    """Return a ramp that is 1, falls linearly over ``share`` of the steps, and is 0 from ``end`` of the steps on."""
    remaining_steps = end * steps - step
    if remaining_steps <= 0:
        return 0.0
    return min(1.0, remaining_steps / (share * steps)) if share else 1.0


class Scheduled(NamedTuple):
    """The scheduled values of a step, and the actions that are due after it."""

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


def scheduled(config: Config, step: int) -> Scheduled:
    """Return the values of a step."""
    steps, steps_done = config.steps, step + 1
    down = fall(step, steps, config.lr_decay)
    if config.lr_decay_shape == "cosine":
        down = (1 - math.cos(math.pi * down)) / 2
    k = None
    if config.k_start is not None and config.k is not None:
        k = round(config.k + (config.k_start - config.k) * fall(step, steps, config.k_decay, config.k_decay))
    every, last = config.resample_every, config.resample_until * steps
    return Scheduled(
        lr=config.lr * min(rise(step, steps, config.lr_warmup), down),
        k=k,
        penalty=rise(step, steps, config.penalty_warmup),
        anchoring=fall(step, steps, config.anchor_fall, 1.0 if config.anchor_until is None else config.anchor_until),
        exponent=_exponent(config, step),
        next_exponent=_exponent(config, steps_done),
        resample=every is not None and steps_done % every == 0 and steps_done <= last,
        reorder=config.reorder_every is not None and steps_done % config.reorder_every == 0,
        row=steps_done % config.log_every == 0 or steps_done == steps,
    )


def _exponent(config: Config, step: int) -> float:
    end = config.l1_exponent_end
    if end is None:
        return 1.0
    return 1 - (1 - end) * (1 - fall(step, config.steps, 1 - config.l1_anneal_start))


class PenaltyFactor:
    """The factor on the weights of l1, l0 and other penalties: the share of their warm-up times an adjustment.

    The adjustment starts at 1. With ``target_l0`` it is multiplied by (L0 / target_l0)^l0_gain after each step. With
    ``l1_exponent_end`` it is multiplied by the step's L1 penalty over the penalty of the same latents with the next
    exponent. The new exponent then leaves the penalty as large (p-annealing, Karvonen et al. 2024, arXiv
    2408.00113). The authors average this ratio over the last batches, and dictionary_learning lowers the exponent in a
    few large steps. Here the exponent falls in every step, and each ratio comes from one batch: the noise of single
    batches averages out over the steps.

    Parameters
    ----------
    loss
        The settings of the loss.
    like
        A tensor with the device and the type of the adjustment.
    """

    def __init__(self, loss: LossConfig, like: Tensor) -> None:
        self.loss = loss
        self.target_l0 = None if loss.l0_form == "quadratic" else loss.target_l0
        """The L0 that the adjustment holds; None if there is none, or if it is the target of the penalty itself."""
        self.log_adjustment = like.new_zeros(())
        """Logarithm of the adjustment."""
        self.used: float | Tensor = 1.0
        """The factor in the last step."""

    @property
    def adjusted(self) -> bool:
        """Whether the adjustment changes."""
        return self.target_l0 is not None or self.loss.l1_exponent_end is not None

    @property
    def changes(self) -> bool:
        """Whether the factor changes from step to step."""
        changes = self.adjusted or self.loss.penalty_warmup > 0
        return changes and any(term_of(name).is_penalty for name in self.loss.terms)

    def use(self, share: float) -> float | Tensor:
        """Return the factor of the next step, for a share of the warm-up."""
        self.used = share * self.log_adjustment.exp() if self.adjusted else share
        return self.used

    @torch.no_grad()
    def adjust(self, terms: dict[str, Tensor]) -> None:
        """Adjust the factor after a step, given the step's terms; removes `NEXT_L1` from them."""
        if NEXT_L1 in terms:
            self.log_adjustment += torch.log(terms["l1"] / terms.pop(NEXT_L1)).nan_to_num(0.0)
        if self.target_l0 is not None:
            self.log_adjustment += self.loss.l0_gain * torch.log(terms["l0"] / self.target_l0).clamp(-2.0, 2.0)
