"""The L0 penalty of JumpReLU, in three forms."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sdlcore.config import L0Form
from sdlcore.model.activations.jumprelu import JumpReLU, step
from sdlcore.model.forward import Forward
from sdlcore.model.losses.term import Term, TermInputs

if TYPE_CHECKING:
    from sdlcore.model.coder import SparseCoder

TANH_SCALE = 4.0
"""Factor in the tanh, Anthropic's choice."""


def l0(model: "SparseCoder", out: Forward, form: L0Form = "step", target: float | None = None) -> Tensor:
    """Return the penalty that ``form`` names.

    step: E ||x_q||_0 through the smoothed step H (Rajamanoharan et al. 2024b, section 4).
    quadratic: E (||x_q||_0 / target - 1)^2, through the same step (the same paper, for training to a fixed L0; Gemma
    Scope 2). It draws each sample to the target, as SAELens' does; dictionary_learning squares the batch's mean.
    tanh: E sum_i tanh(4 x_q,i w_i), where w_i is the norm of decoder row i (Anthropic, January 2025). For a
    crosscoder w_i is the sum of the sites' norms, as in the L1 penalty. It counts latents that are well above zero, and
    its gradient reaches the small ones.

    Raises
    ------
    TypeError
        If step or quadratic is used with an activation other than JumpReLU.
    """
    if form == "tanh":
        return torch.tanh(TANH_SCALE * weighted_by_decoder(model, out)).sum() / out.support.n_samples
    active_N = smoothed(model, out, "l0")
    if form == "step":
        return active_N.sum() / out.support.n_samples
    assert target is not None, "LossConfig needs target_l0"
    active_B = out.support.sum_by_sample(active_N)
    return (active_B / target - 1).square().mean()


def smoothed(model: "SparseCoder", out: Forward, name: str) -> Tensor:
    """Return which entries are active (N, 0 or 1), with JumpReLU's straight-through gradient."""
    sigma = model.sigma
    if not isinstance(sigma, JumpReLU):
        raise TypeError(f"{name} needs activation jumprelu, found {model.config.activation}")
    return step(out.pre, out.support.per_latent(sigma.threshold), sigma.bandwidth)


def weighted_by_decoder(model: "SparseCoder", out: Forward) -> Tensor:
    """Return the latents times the norms of their decoder rows (N)."""
    if model.decoder_is_unit:
        return out.values
    assert out.norms is not None, "tanh needs a pass with norms=True"
    return out.values * out.support.per_latent(out.norms)


def _compute(inputs: TermInputs) -> Tensor:
    return l0(inputs.model, inputs.out, inputs.config.l0_form, inputs.config.target_l0)


TERM = Term("l0_penalty", _compute, "l0", rises=True, norms=lambda config: config.l0_form == "tanh")
