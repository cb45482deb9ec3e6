"""Given pre-activations, wrapped for searches."""

import torch
from torch import Tensor

from sdlcore.sparse.preactivations import Preactivations


def drawn(seed: int, B: int = 6, Q: int = 10) -> Tensor:
    """Return normally distributed pre-activations."""
    return torch.randn(B, Q, generator=torch.Generator().manual_seed(seed))


def given_as(z: Tensor) -> Preactivations:
    """Return pre-activations that equal z to the bit: the products of its rows with the identity."""
    return Preactivations(z.detach(), torch.eye(z.shape[1], dtype=z.dtype), z.new_zeros(z.shape[1]))
