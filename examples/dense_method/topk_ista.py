"""An encoder that reads the decoder: TopK, and then one step of ISTA."""

from typing import Annotated

from annotated_types import Gt
from torch import Tensor

import sdlcore as sdl
from sdlcore.model.activation import Weights


@sdl.activation("topk_ista")
class TopKIsta(sdl.Encoder, sdl.TopK):
    """TopK codes of an autoencoder, moved along the gradient of their squared error, and reduced to the k largest."""

    step_size: Annotated[float, Gt(0)] = 0.1
    """Length of the step along the gradient."""

    def encode(self, x: Tensor, weights: Weights) -> Tensor:
        """Return the latents (B x n_q) of samples (B x n_p)."""
        latents = self(x @ weights.W_enc.T + weights.b_enc)
        residual = x - latents @ weights.W_dec - weights.b_dec
        return self(latents + self.step_size * residual @ weights.W_dec.T)
