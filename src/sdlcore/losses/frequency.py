"""The penalty on latents that are active too often."""

from torch import Tensor

from sdlcore.losses.l0 import smoothed
from sdlcore.losses.term import Term, TermInputs


def frequency(inputs: TermInputs) -> Tensor:
    """Return sum_i p_i^2 / scale, where p_i is the share of a batch's samples that activate latent i.

    With the same weight as the L0 penalty, both add up to the quadratic-frequency penalty sum_i p_i (1 + p_i / scale)
    of JumpReLU (Smith, Rajamanoharan et al. 2025, progress update 2 of Google DeepMind's interpretability team; Gemma
    Scope 2 trains with such a penalty). Latents that are active in fewer samples than ``scale`` hardly feel it. Its
    gradient goes through JumpReLU's smoothed step.
    """
    model, out = inputs.model, inputs.out
    samples = model.processes.samples
    active_N = smoothed(model, out, "frequency")
    here_Q = active_N.new_zeros(out.support.n_q).index_add(0, out.support.columns, active_N) / out.support.n_samples
    # the square of the mean over processes, whose gradient each process has for its own samples
    all_Q = samples.mean(here_Q.detach())
    return model.processes.latents.sum((2 * all_Q * here_Q - all_Q.square()).sum()) / inputs.config.frequency_scale


TERM = Term("frequency", frequency, "frequency", rises=True)
