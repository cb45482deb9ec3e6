"""ReLU: the latents are the positive pre-activations."""

import numpy as np
import torch
from torch import Tensor

from sdlcore.model.sigma import Sigma
from sdlcore.model.support import Support
from sdlcore.run import ModelConfig


class ReLU(Sigma):
    """max(0, z)."""

    def forward(self, pre_N: Tensor, support: Support) -> Tensor:
        return torch.relu(pre_N)

    def oracle(self, z_BN: np.ndarray, true_p: np.ndarray) -> np.ndarray:
        return z_BN


def make(config: ModelConfig) -> Sigma:
    return ReLU()
