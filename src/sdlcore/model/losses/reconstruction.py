"""The reconstruction error, summed over dimensions and averaged over samples. Every loss contains it."""

from torch import Tensor
from torch.nn.functional import mse_loss


def reconstruction(x_BR: Tensor, x_hat_BR: Tensor) -> Tensor:
    """E || x_r - x_r_hat ||^2 (eq. 3)."""
    return mse_loss(x_hat_BR, x_BR, reduction="sum") / len(x_BR)
