"""The penalty on latents that are active too often."""

from torch import Tensor

from sdlcore.model.losses.l0 import smoothed
from sdlcore.model.losses.term import Term, TermInputs

TOO_OFTEN = 0.1
"""Share of a batch's samples: latents that are active in fewer of them hardly feel the penalty."""


def frequency(inputs: TermInputs) -> Tensor:
    """Return sum_i p_i^2 / `TOO_OFTEN`, where p_i is the share of a batch's samples that activate latent i.

    With the same weight as the L0 penalty, both add up to JumpReLU's quadratic-frequency penalty, the sum over latents
    of p_i (1 + p_i / p_0) with p_0 = `TOO_OFTEN`. The penalty is from Smith, Rajamanoharan et al. (2025, progress
    update 2 of Google DeepMind's interpretability team), and Gemma Scope 2 trains with a similar one. For another p_0,
    multiply the weight by `TOO_OFTEN` / p_0. The gradient goes through JumpReLU's smoothed step.
    """
    out = inputs.out
    active_N = smoothed(inputs)
    here_Q = active_N.new_zeros(out.support.n_q).index_add(0, out.support.columns, active_N) / out.support.n_samples
    # averaged over processes, this is the square of the mean; each process has the gradient for its own samples
    all_Q = inputs.model.processes.mean(here_Q.detach())
    return (2 * all_Q * here_Q - all_Q.square()).sum() / TOO_OFTEN


TERM = Term("frequency", frequency, "frequency", is_penalty=True)
