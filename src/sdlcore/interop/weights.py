"""Convert weights between other libraries and `SparseCoder`, with the same latents and reconstructions."""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from sdlcore.config import ActivationName, ModelConfig
from sdlcore.model.coder import SparseCoder
from sdlcore.settings import Pair

_SMALLEST_NORM = 1e-8
"""Lower bound of a decoder row's norm when dividing by it, as in SAELens; a row of zeros has no direction."""


@dataclass(frozen=True)
class InteropWeights:
    """Weights of a dictionary in a form that covers all supported libraries.

        x_hat = sigma((x - shift) W_enc^T + b_enc) W_dec + b_dec + x W_skip

    The encoder is n_q x n_p and the decoder n_q x n_r, with a row for each latent.
    """

    W_enc: Tensor
    b_enc: Tensor
    """n_q; for gated, the bias of the gate."""
    W_dec: Tensor
    b_dec: Tensor
    """n_r."""
    shift: Tensor | None = None
    """n_p: subtracted from inputs; b_dec in most libraries, None for nothing."""
    threshold: Tensor | None = None
    """jumprelu: n_q; batchtopk: a scalar. A threshold below zero counts as zero, since no library allows negative
    latents."""
    log_scale: Tensor | None = None
    """n_q, gated: logarithm of the ratio of the magnitude's encoder row to the gate's."""
    b_magnitude: Tensor | None = None
    """n_q, gated: the bias of the magnitude."""
    W_skip: Tensor | None = None
    """n_p x n_r: the skip connection of a transcoder; None for none."""

    def by_decoder_norms(self) -> "InteropWeights":
        """Return an equivalent dictionary with unit decoder rows; each latent is multiplied by its row's former norm.

        Some libraries select latents and compare thresholds after this rescaling.
        """
        # float64, since many files are in half precision, and products rounded to that would select other latents
        W_enc, b_enc, W_dec = self.W_enc.double(), self.b_enc.double(), self.W_dec.double()
        norms = W_dec.norm(dim=1).clamp(min=_SMALLEST_NORM)
        return replace(
            self,
            W_enc=(W_enc * norms[:, None]).float(),
            b_enc=(b_enc * norms).float(),
            W_dec=(W_dec / norms[:, None]).float(),
        )

    def shifted(self, shift: Tensor | None) -> "InteropWeights":
        """Return an equivalent dictionary that subtracts ``shift`` (n_p) from inputs, by changing encoder biases."""
        change = torch.zeros_like(self.b_enc, dtype=torch.float64)
        for sign, vector in ((1, shift), (-1, self.shift)):
            if vector is not None:
                change += sign * (self.W_enc.double() @ vector.double())
        b_magnitude = self.b_magnitude
        if b_magnitude is not None and self.log_scale is not None:
            b_magnitude = (b_magnitude.double() + self.log_scale.double().exp() * change).float()
        return replace(self, b_enc=(self.b_enc.double() + change).float(), b_magnitude=b_magnitude, shift=shift)


@torch.no_grad()
def sparse_coder(
    weights: InteropWeights, activation: ActivationName, k: int | None, pair: Pair = "sae", sites: int = 1
) -> SparseCoder:
    """Build a `SparseCoder` from weights, in evaluation mode.

    Parameters
    ----------
    weights
        The weights; they are copied.
    activation, k
        The activation, and its number of active latents; None for activations without k.
    pair, sites
        Kind of dictionary, and a crosscoder's number of sites, which have one width.

    Raises
    ------
    ValueError
        If the activation lacks weights, or their shapes are inconsistent.
    """
    n_q, n_p = weights.W_enc.shape
    skip = weights.W_skip is not None
    tied = activation == "matching_pursuit"  # which has one matrix, of unit rows where sdlcore trains it
    norm: Literal["free", "unit"] = "unit" if tied else "free"
    config = ModelConfig(
        pair=pair, activation=activation, n_q=n_q, k=k, bias=True, skip=skip, tied=tied, decoder_norm=norm
    )
    model = SparseCoder.from_config(config, (n_p // sites,) * sites, (len(weights.b_dec) // sites,) * sites)
    plain = weights.shifted(None)
    state = {"W_enc": weights.W_enc, "b_enc": plain.b_enc, "W_dec": weights.W_dec, "b_dec": weights.b_dec}
    if weights.W_skip is not None:
        state["W_skip"] = weights.W_skip
    if weights.threshold is not None:
        state["sigma.threshold"] = weights.threshold.clamp(min=0)
    if plain.log_scale is not None and plain.b_magnitude is not None:
        state["sigma.log_scale"] = plain.log_scale
        # sdlcore's offset is the difference from the scaled bias of the gate
        state["sigma.offset"] = plain.b_magnitude.double() - plain.log_scale.double().exp() * plain.b_enc.double()
    model_state = model.state_dict()
    # JumpReLU's initial thresholds are only known, and only needed, for sdlcore's own trainings
    missing = model_state.keys() - state.keys() - {"sigma.start"}
    if missing:
        raise ValueError(f"{', '.join(sorted(missing))} missing, expected the weights of activation {activation}")
    # copies, so that further training of the other library's model does not change this one
    model.load_state_dict(model_state | {name: value.detach().float().clone() for name, value in state.items()})
    return model.eval()


@torch.no_grad()
def weights_of(model: SparseCoder) -> InteropWeights:
    """Return copies of a model's weights, float32 on the CPU; no two share memory."""
    state = {name: value.detach().cpu().float().clone() for name, value in model.state_dict().items()}
    log_scale, b_magnitude = state.get("sigma.log_scale"), None
    if log_scale is not None:
        b_magnitude = (state["sigma.offset"].double() + log_scale.double().exp() * state["b_enc"].double()).float()
    return InteropWeights(
        W_enc=state["W_enc"],
        b_enc=state["b_enc"],
        W_dec=state["W_dec"],
        b_dec=state["b_dec"],
        threshold=state.get("sigma.threshold"),
        log_scale=log_scale,
        b_magnitude=b_magnitude,
        W_skip=state.get("W_skip"),
    )
