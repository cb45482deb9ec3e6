"""The L0 penalty of JumpReLU."""

from torch import Tensor

from sdlcore.losses.term import Given, Term
from sdlcore.model.activations.jumprelu import JumpReLU
from sdlcore.model.sparse_coder import Forward


def l0(out: Forward, sigma: JumpReLU) -> Tensor:
    """E || x_q ||_0 through the smoothed step (Rajamanoharan et al. 2024b)."""
    return sigma.processes.latents.sum(sigma.step(out.pre, out.support).sum()) / out.support.n_samples


def _compute(given: Given) -> Tensor:
    sigma = given.model.sigma
    if not isinstance(sigma, JumpReLU):
        raise TypeError(f"l0 needs activation jumprelu, found {given.model.config.activation}")
    return l0(given.out, sigma)


TERM = Term("l0_penalty", _compute, "l0", rises=True)
