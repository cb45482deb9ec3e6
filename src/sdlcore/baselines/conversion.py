"""Convert other libraries' weights to a `SparseCoder` with the same latents and reconstructions."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sdlcore.model.sparse_coder import SparseCoder
from sdlcore.run import Activation, ModelConfig


@dataclass(frozen=True)
class Weights:
    """A dictionary in the form that other libraries keep it in.

        x_hat = sigma((x - shift) W_enc^T + b_enc) W_dec + b_dec

    Encoder and decoder have a row for each latent, n_q x n.
    """

    W_enc: Tensor
    b_enc: Tensor
    """n_q; of gated that of the gate."""
    W_dec: Tensor
    b_dec: Tensor
    shift: Tensor
    """n: what is subtracted from inputs, b_dec in most libraries."""
    threshold: Tensor | None = None
    """jumprelu: n_q; batchtopk: 0-d. One below zero counts as zero: no library lets a negative latent pass."""
    log_scale: Tensor | None = None
    """n_q, gated: logarithm of the magnitude's encoder over the gate's."""
    b_magnitude: Tensor | None = None
    """n_q, gated: the magnitude's own bias."""

    def by_decoder_norms(self) -> "Weights":
        """Return the dictionary with unit decoder rows whose latents are this one's times the norms of its rows.

        So do libraries that select latents, and hold a threshold against them, in units of reconstructions.
        """
        norms = self.W_dec.norm(dim=1)
        return replace(
            self, W_enc=self.W_enc * norms[:, None], b_enc=self.b_enc * norms, W_dec=self.W_dec / norms[:, None]
        )


@torch.no_grad()
def sparse_coder(weights: Weights, activation: Activation, k: int | None) -> SparseCoder:
    """Return a dictionary as our model, in evaluation mode.

    Parameters
    ----------
    weights
        The dictionary.
    activation, k
        Its sigma, and the number of active latents where that keeps one.
    """
    n_q, n = weights.W_enc.shape
    model = SparseCoder(ModelConfig(activation=activation, n_q=n_q, k=k, bias=True), (n,), (n,))
    state = {
        "W_enc": weights.W_enc,
        "b_enc": weights.b_enc - weights.W_enc @ weights.shift,
        "W_dec": weights.W_dec,
        "b_dec": weights.b_dec,
    }
    if weights.threshold is not None:
        state["sigma.threshold"] = weights.threshold.clamp(min=0)
    if weights.log_scale is not None and weights.b_magnitude is not None:
        state["sigma.log_scale"] = weights.log_scale
        # ours is the difference from what the gate's bias amounts to, which shifts of inputs leave as it is
        state["sigma.offset"] = weights.b_magnitude - weights.log_scale.exp() * weights.b_enc
    own = model.state_dict()
    # JumpReLU keeps where its thresholds started, which says something of trainings here alone
    missing = own.keys() - state.keys() - {"sigma.start"}
    if missing:
        raise ValueError(f"{', '.join(sorted(missing))} missing, expected the weights of activation {activation}")
    # copies: what goes on training must not change what was taken from it
    model.load_state_dict(own | {name: value.detach().float().clone() for name, value in state.items()})
    return model.eval()
