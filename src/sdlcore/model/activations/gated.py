"""Gated: one pre-activation decides whether a latent is active, and its own scale and offset how much."""

from typing import Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from sdlcore.model.sigma import Sigma, above_interference
from sdlcore.model.sparse import decode
from sdlcore.model.support import Support
from sdlcore.run import ModelConfig


class Gated(Sigma):
    """(e^r z + c) H(z) with a scale r and an offset c a latent (Rajamanoharan et al. 2024a).

    z is the gate's pre-activation; the magnitude's, e^r (W_E x) + b_mag, is the same up to c = b_mag - e^r b_gate. The
    gate learns through the L1 penalty and its own reconstruction.
    """

    def __init__(self, n_q: int) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(n_q, dtype=torch.float32))
        self.offset = nn.Parameter(torch.zeros(n_q, dtype=torch.float32))

    @classmethod
    def of(cls, config: ModelConfig) -> Self:
        return cls(config.n_q)

    def initial(self, name: str) -> float:
        return 0.0

    def values(self, pre_N: Tensor, support: Support) -> Tensor:
        scale, offset = (p.index_select(0, support.columns) for p in (self.log_scale, self.offset))
        return torch.where(pre_N > 0, torch.relu(scale.exp() * pre_N + offset), 0.0)

    def penalised(self, pre_N: Tensor, values_N: Tensor) -> Tensor:
        return torch.relu(pre_N)

    def loss(self, x_BR: Tensor, pre_N: Tensor, support: Support, W_dec: Tensor, b_dec: Tensor) -> dict[str, Tensor]:
        """Return E || x_r - W_D relu(z) - b_D ||^2 of gates z, the decoder held fixed (Rajamanoharan et al. 2024a)."""
        decoded_BR = decode(torch.relu(pre_N), support, W_dec.detach()).rows.sum(1)
        x_hat_BR = self.processes.latents.sum(decoded_BR) + b_dec.detach()
        return {"gate": mse_loss(x_hat_BR, x_BR, reduction="sum") / len(x_BR)}

    def oracle(self, z_BN: np.ndarray, true_p: np.ndarray) -> np.ndarray:
        return above_interference(z_BN, true_p)


SIGMA = Gated
