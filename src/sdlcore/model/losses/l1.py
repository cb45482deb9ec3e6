"""The L1 penalty."""

import torch
from torch import Tensor

from sdlcore.model.losses.term import Term, TermInputs, weighted_by_decoder


def l1(inputs: TermInputs) -> Tensor:
    """E sum_i w_i |x_q,i|, with gates (`Activation.gates`) instead of latents x_q if the activation defines gates.

    If ``l1_scale`` is "none", all w_i are 1 (eq. 5). If it is "decoder", w_i is the norm of decoder row i, for a
    crosscoder the sum of the sites' norms (Lindsey et al. 2024). Without norms, a growing decoder makes the penalty
    vanish.

    With an ``exponent`` p below 1 it is E sum_i (w_i |x_q,i|)^p over active latents, whose exponent falls from 1 in
    p-annealing (Karvonen et al. 2024, arXiv 2408.00113). The gradient grows without bound as a latent comes near to
    zero, and gradient_clip bounds it.
    """
    model, out, exponent = inputs.model, inputs.out, inputs.exponent
    gates_N = model.sigma.gates(out.pre)
    penalised_N = out.values if gates_N is None else gates_N
    if model.sigma.signed:
        penalised_N = penalised_N.abs()
    if inputs.config.l1_scale == "decoder":
        penalised_N = weighted_by_decoder(penalised_N, inputs)
    if exponent != 1.0:
        # an inactive latent gets no gradient: the power has an infinite one at zero
        active_N = penalised_N > 0
        penalised_N = torch.where(active_N, torch.where(active_N, penalised_N, 1.0) ** exponent, 0.0)
    return penalised_N.sum() / out.support.n_samples


TERM = Term("l1", l1, "l1", is_penalty=True, norms=lambda config: config.l1_scale == "decoder")
