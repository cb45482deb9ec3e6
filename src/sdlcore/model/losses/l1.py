"""The L1 penalty."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sdlcore.model.forward import Forward
from sdlcore.model.losses.term import Term, TermInputs

if TYPE_CHECKING:
    from sdlcore.model.coder import SparseCoder


def l1(model: "SparseCoder", out: Forward, scale: str = "decoder", exponent: float = 1.0) -> Tensor:
    """E sum_i w_i |x_q,i|, with gates (`Activation.gates`) instead of latents x_q if the activation defines gates.

    If ``scale`` is "none", all w_i are 1 (eq. 5). If it is "decoder", w_i is the norm of decoder row i, for a
    crosscoder the sum of the sites' norms (Lindsey et al. 2024). Without norms, a growing decoder makes the penalty
    vanish.

    With an ``exponent`` p below 1 it is E sum_i (w_i |x_q,i|)^p over active latents, whose exponent falls from 1 in
    p-annealing (Karvonen et al. 2024, arXiv 2408.00113). The gradient grows without bound as a latent comes near to
    zero, and gradient_clip bounds it. With ``scale`` "decoder", ``out`` must come from a pass with ``norms``.
    """
    gates_N = model.sigma.gates(out.pre)
    penalised_N = out.values if gates_N is None else gates_N
    if model.sigma.signed:
        penalised_N = penalised_N.abs()
    if scale == "decoder" and not model.decoder_is_unit:
        assert out.norms is not None, "the scale decoder needs a pass with norms=True"
        penalised_N = penalised_N * out.norms.index_select(0, out.support.columns)
    if exponent != 1.0:
        # an inactive latent gets no gradient: the power has an infinite one at zero
        active_N = penalised_N > 0
        penalised_N = torch.where(active_N, torch.where(active_N, penalised_N, 1.0) ** exponent, 0.0)
    return penalised_N.sum() / out.support.n_samples


def _compute(inputs: TermInputs) -> Tensor:
    return l1(inputs.model, inputs.out, inputs.config.l1_scale, inputs.exponent)


TERM = Term("l1", _compute, "l1", rises=True, norms=lambda config: config.l1_scale == "decoder")
