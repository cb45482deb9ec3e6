"""The L0 penalty of JumpReLU, in three forms."""

from torch import Tensor

from sdlcore.losses.term import Term, TermInputs
from sdlcore.model.activations.jumprelu import JumpReLU, step
from sdlcore.model.coder import Forward, SparseCoder


def l0(model: SparseCoder, out: Forward) -> Tensor:
    """E || x_q ||_0 of JumpReLU through the smoothed step (Rajamanoharan et al. 2024b)."""
    sigma = model.sigma
    if not isinstance(sigma, JumpReLU):
        raise TypeError(f"l0 needs activation jumprelu, found {model.config.activation}")
    active_N = step(out.pre, out.support.per_latent(sigma.threshold), sigma.bandwidth)
    return model.processes.latents.sum(active_N.sum()) / out.support.n_samples


def _compute(inputs: TermInputs) -> Tensor:
    return l0(inputs.model, inputs.out)


TERM = Term("l0_penalty", _compute, "l0", rises=True)
