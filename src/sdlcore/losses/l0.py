"""The L0 penalty of JumpReLU."""

from torch import Tensor

from sdlcore.losses.term import Term, TermInputs
from sdlcore.model.activations.jumprelu import JumpReLU
from sdlcore.model.sparse_coder import Forward


def l0(out: Forward, sigma: JumpReLU) -> Tensor:
    """E || x_q ||_0 through the smoothed step (Rajamanoharan et al. 2024b)."""
    return sigma.processes.latents.sum(sigma.step(out.pre, out.support).sum()) / out.support.n_samples


def _compute(inputs: TermInputs) -> Tensor:
    sigma = inputs.model.sigma
    if not isinstance(sigma, JumpReLU):
        raise TypeError(f"l0 needs activation jumprelu, found {inputs.model.config.activation}")
    return l0(inputs.out, sigma)


TERM = Term("l0_penalty", _compute, "l0", rises=True)
