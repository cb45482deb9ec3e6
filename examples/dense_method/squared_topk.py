"""One method written twice: densely, and with a search, which is faster."""

import torch
from torch import Tensor

import sdlcore as sdl
from sdlcore.sparse.support import Support


@sdl.activation("squared_topk")
class SquaredTopK(sdl.TopK):
    """z^2 if z is positive and among the k largest of its sample, else zero."""

    def forward(self, pre: Tensor) -> Tensor:
        """Return the latents (B x n_q) of all pre-activations (B x n_q)."""
        return super().forward(pre) ** 2


@sdl.activation("fast_squared_topk")
class FastSquaredTopK(sdl.TopK):
    """SquaredTopK with a search. TopK declares the search for the k largest; `values` is computed only at these."""

    def forward(self, pre: Tensor) -> Tensor:
        """Return the latents (B x n_q) of all pre-activations (B x n_q), which tests compare with `values`."""
        return super().forward(pre) ** 2

    def values(self, pre: Tensor, support: Support) -> Tensor:
        """Return the latents (N) of the pre-activations (N) that the search found."""
        return torch.relu(pre) ** 2
