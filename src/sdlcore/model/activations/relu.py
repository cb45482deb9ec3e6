"""ReLU: the latents are the positive pre-activations."""

import torch
from torch import Tensor

from sdlcore.model.activation import Activation
from sdlcore.sparse.search import Above, Search
from sdlcore.sparse.support import Support


class ReLU(Activation):
    """max(0, z)."""

    def forward(self, pre: Tensor) -> Tensor:
        return torch.relu(pre)

    def search(self) -> Search:
        return Above(0.0)

    def values(self, pre: Tensor, support: Support) -> Tensor:
        return torch.relu(pre)


ACTIVATION = ReLU
