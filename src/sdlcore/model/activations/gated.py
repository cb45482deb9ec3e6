"""Gated: a pre-activation decides whether a latent is active; its own scale and offset decide how strongly."""

import torch
from torch import Tensor, nn

from sdlcore.model.activation import Activation
from sdlcore.sparse.search import Above, Search
from sdlcore.sparse.support import Support


class Gated(Activation):
    """relu(e^r z + c) H(z), with a scale r and an offset c for each latent (Rajamanoharan et al. 2024a).

    z is the gate's pre-activation. The paper's magnitude path, e^r (W_E x) + b_mag, shares the encoder's rows, so it is
    e^r z plus the offset c = b_mag - e^r b_gate, which is the parameter here. In this form the gate's bias gets a
    gradient from the reconstruction, unlike in the paper. The step H passes none: the choice of active latents is
    learned through the L1 penalty on relu(z) and through a reconstruction from relu(z)
    (`sdlcore.model.losses.total.gate`).
    """

    def __init__(self, n_q: int) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(n_q, dtype=torch.float32))
        self.offset = nn.Parameter(torch.zeros(n_q, dtype=torch.float32))

    def forward(self, pre: Tensor) -> Tensor:
        return torch.where(pre > 0, torch.relu(self.log_scale.exp() * pre + self.offset), 0.0)

    def search(self) -> Search:
        return Above(0.0)

    def values(self, pre: Tensor, support: Support) -> Tensor:
        scale, offset = support.per_latent(self.log_scale), support.per_latent(self.offset)
        return torch.where(pre > 0, torch.relu(scale.exp() * pre + offset), 0.0)

    def gates(self, pre: Tensor) -> Tensor:
        return torch.relu(pre)


ACTIVATION = Gated
