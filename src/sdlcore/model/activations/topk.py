"""TopK: the latents are the k largest pre-activations of a sample."""

import torch
from torch import Tensor

from sdlcore.model.activation import Selecting
from sdlcore.sparse.search import LargestPerSample, Search, largest
from sdlcore.sparse.support import Support


class TopK(Selecting):
    """z where z is positive and among the k largest of its sample, zero elsewhere (eq. 7; Gao et al. 2024)."""

    def forward(self, pre: Tensor) -> Tensor:
        return torch.where(largest(pre, self.k), torch.relu(pre), 0.0)

    def search(self) -> Search:
        return LargestPerSample(self.k)

    def values(self, pre: Tensor, support: Support) -> Tensor:
        return torch.relu(pre)


ACTIVATION = TopK
