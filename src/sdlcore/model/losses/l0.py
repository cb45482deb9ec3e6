"""The L0 penalty of JumpReLU, in three forms."""

import torch
from torch import Tensor

from sdlcore.model.activations.jumprelu import JumpReLU, step
from sdlcore.model.losses.term import Term, TermInputs, weighted_by_decoder

TANH_SCALE = 4.0
"""Factor in the tanh, Anthropic's choice."""


def l0(inputs: TermInputs) -> Tensor:
    """Return the penalty that ``l0_form`` names.

    step: E ||x_q||_0 through the smoothed step H (Rajamanoharan et al. 2024b, section 4).
    quadratic: E (||x_q||_0 / target_l0 - 1)^2, through the same step (the same paper, for training to a fixed L0; Gemma
    Scope 2). It draws each sample to the target, as SAELens' does; dictionary_learning squares the batch's mean.
    tanh: E sum_i tanh(4 x_q,i w_i), where w_i is the norm of decoder row i (Anthropic, January 2025). For a
    crosscoder w_i is the sum of the sites' norms, as in the L1 penalty. It counts latents that are well above zero, and
    its gradient reaches the small ones.
    """
    out, config = inputs.out, inputs.config
    if config.l0_form == "tanh":
        return torch.tanh(TANH_SCALE * weighted_by_decoder(out.values, inputs)).sum() / out.support.n_samples
    active_N = smoothed(inputs)
    if config.l0_form == "step":
        return active_N.sum() / out.support.n_samples
    assert config.target_l0 is not None, "LossConfig needs target_l0"
    return (out.support.sum_by_sample(active_N) / config.target_l0 - 1).square().mean()


def smoothed(inputs: TermInputs) -> Tensor:
    """Return which entries are active (N, 0 or 1), with JumpReLU's straight-through gradient."""
    sigma, out = inputs.model.sigma, inputs.out
    assert isinstance(sigma, JumpReLU), "LossConfig needs activation jumprelu"
    return step(out.pre, out.support.per_latent(sigma.threshold), sigma.bandwidth)


TERM = Term("l0_penalty", l0, "l0", is_penalty=True, norms=lambda config: config.l0_form == "tanh")
