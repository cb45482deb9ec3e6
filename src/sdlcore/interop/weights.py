"""Convert between other libraries' weights and a `SparseCoder` with the same latents and reconstructions."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sdlcore.model.coder import SparseCoder
from sdlcore.run import Activation, ModelConfig
from sdlcore.settings import Pair

_SMALLEST_NORM = 1e-8
"""Norm that a decoder row counts as having at least, as in SAELens: a row of zeros has no direction."""


@dataclass(frozen=True)
class Weights:
    """A dictionary in the form that other libraries keep it in.

        x_hat = sigma((x - shift) W_enc^T + b_enc) W_dec + b_dec + x W_skip

    Encoder and decoder have a row for each latent: n_q x n_p and n_q x n_r.
    """

    W_enc: Tensor
    b_enc: Tensor
    """n_q; of gated that of the gate."""
    W_dec: Tensor
    b_dec: Tensor
    """n_r."""
    shift: Tensor | None = None
    """n_p: what is subtracted from inputs, b_dec in most libraries; None for nothing."""
    threshold: Tensor | None = None
    """jumprelu: n_q; batchtopk: 0-d. One below zero counts as zero: no library lets a negative latent pass."""
    log_scale: Tensor | None = None
    """n_q, gated: logarithm of the magnitude's encoder over the gate's."""
    b_magnitude: Tensor | None = None
    """n_q, gated: the magnitude's own bias."""
    W_skip: Tensor | None = None
    """n_p x n_r: the linear path of a transcoder that has one."""

    def by_decoder_norms(self) -> "Weights":
        """Return the dictionary with unit decoder rows whose latents are this one's times the norms of its rows.

        So do libraries that select latents, and hold a threshold against them, in units of reconstructions.
        """
        # not in half precision, in which many files are: products rounded to it would select other latents
        W_enc, b_enc, W_dec = self.W_enc.double(), self.b_enc.double(), self.W_dec.double()
        norms = W_dec.norm(dim=1).clamp(min=_SMALLEST_NORM)
        return replace(
            self,
            W_enc=(W_enc * norms[:, None]).float(),
            b_enc=(b_enc * norms).float(),
            W_dec=(W_dec / norms[:, None]).float(),
        )

    def shifted(self, shift: Tensor | None) -> "Weights":
        """Return the same dictionary for inputs that have ``shift`` (n_p) subtracted: the encoder's biases make up for
        it."""
        change = torch.zeros_like(self.b_enc, dtype=torch.float64)
        for sign, vector in ((1, shift), (-1, self.shift)):
            if vector is not None:
                change += sign * (self.W_enc.double() @ vector.double())
        b_magnitude = self.b_magnitude
        if b_magnitude is not None and self.log_scale is not None:
            b_magnitude = (b_magnitude.double() + self.log_scale.double().exp() * change).float()
        return replace(self, b_enc=(self.b_enc.double() + change).float(), b_magnitude=b_magnitude, shift=shift)


@torch.no_grad()
def sparse_coder(weights: Weights, activation: Activation, k: int | None, pair: Pair = "sae") -> SparseCoder:
    """Return a dictionary as our model, in evaluation mode.

    Parameters
    ----------
    weights
        The dictionary.
    activation, k
        Its sigma, and the number of active latents where that keeps one.
    pair
        sae or transcoder.

    Raises
    ------
    ValueError
        If weights are missing, do not fit each other or are not finite.
    """
    n_q, n_p = weights.W_enc.shape
    skip = weights.W_skip is not None
    config = ModelConfig(pair=pair, activation=activation, n_q=n_q, k=k, bias=True, skip=skip)
    model = SparseCoder(config, (n_p,), tuple(weights.b_dec.shape))
    plain = weights.shifted(None)
    state = {"W_enc": weights.W_enc, "b_enc": plain.b_enc, "W_dec": weights.W_dec, "b_dec": weights.b_dec}
    if weights.W_skip is not None:
        state["W_skip"] = weights.W_skip
    if weights.threshold is not None:
        state["sigma.threshold"] = weights.threshold.clamp(min=0)
    if plain.log_scale is not None and plain.b_magnitude is not None:
        state["sigma.log_scale"] = plain.log_scale
        # ours is the difference from what the gate's bias amounts to
        state["sigma.offset"] = plain.b_magnitude.double() - plain.log_scale.double().exp() * plain.b_enc.double()
    own = model.state_dict()
    # JumpReLU keeps where its thresholds started, which says something of trainings here alone
    missing = own.keys() - state.keys() - {"sigma.start"}
    if missing:
        raise ValueError(f"{', '.join(sorted(missing))} missing, expected the weights of activation {activation}")
    for name, value in state.items():
        if name not in own:
            raise ValueError(f"{name} has no meaning for activation {activation}")
        if value.shape != own[name].shape:
            raise ValueError(f"{name} has shape {tuple(value.shape)}, expected {tuple(own[name].shape)}")
        if not value.isfinite().all():
            raise ValueError(f"{name} holds NaN or infinity")
    # copies: what goes on training must not change what was taken from it
    model.load_state_dict(own | {name: value.detach().float().clone() for name, value in state.items()})
    return model.eval()


@torch.no_grad()
def weights_of(model: SparseCoder) -> Weights:
    """Return the weights of one of our models, float32 on the CPU, which share no memory with it or each other."""
    state = {name: value.detach().cpu().float().clone() for name, value in model.state_dict().items()}
    log_scale, b_magnitude = state.get("sigma.log_scale"), None
    if log_scale is not None:
        b_magnitude = (state["sigma.offset"].double() + log_scale.double().exp() * state["b_enc"].double()).float()
    return Weights(
        W_enc=state["W_enc"],
        b_enc=state["b_enc"],
        W_dec=state["W_dec"],
        b_dec=state["b_dec"],
        threshold=state.get("sigma.threshold"),
        log_scale=log_scale,
        b_magnitude=b_magnitude,
        W_skip=state.get("W_skip"),
    )
