"""ReLU: the latents are the positive pre-activations."""

import torch
from torch import Tensor

from sdlcore.model.sigma import Sigma
from sdlcore.model.support import Support


class ReLU(Sigma):
    """max(0, z)."""

    def values(self, pre_N: Tensor, support: Support) -> Tensor:
        return torch.relu(pre_N)


SIGMA = ReLU
