"""The factor on the weights of penalties, which training adjusts from step to step."""

import torch
from torch import Tensor

from sdlcore.losses.term import term_of
from sdlcore.run import LossConfig

NEXT_L1 = "l1 of the next exponent"
"""Key of the L1 penalty of a step's latents with the exponent of the step after it."""


class PenaltyFactor:
    """The factor on the weights of l1, l0 and other penalties: the share of their warm-up times an adjustment.

    The adjustment starts at 1. With ``target_l0`` it is multiplied by (L0 / target_l0)^l0_gain after each step. With
    ``l1_exponent_end`` it is multiplied by the step's L1 penalty over the penalty of the same latents with the next
    exponent, so that the new exponent leaves the penalty as large (p-annealing, Karvonen et al. 2024, arXiv
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
        self.log = like.new_zeros(())
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
        return changes and any(term_of(name).rises for name in self.loss.terms)

    def use(self, share: float) -> float | Tensor:
        """Return the factor of the next step, for a share of the warm-up."""
        self.used = share * self.log.exp() if self.adjusted else share
        return self.used

    @torch.no_grad()
    def adjust(self, terms: dict[str, Tensor]) -> None:
        """Adjust the factor after a step, given the step's terms; removes `NEXT_L1` from them."""
        if NEXT_L1 in terms:
            self.log += torch.log(terms["l1"] / terms.pop(NEXT_L1)).nan_to_num(0.0)
        if self.target_l0 is not None:
            self.log += self.loss.l0_gain * torch.log(terms["l0"] / self.target_l0).clamp(-2.0, 2.0)
