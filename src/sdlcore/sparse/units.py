"""Powers of two to divide rows by, because squares of float32 overflow beyond 1e19 and vanish below 1e-22.

Division by a power of two is exact. So a computation in these units has the same bits wherever it would not overflow.
"""

import torch
from torch import Tensor


def units_of_rows(x_BR: Tensor) -> Tensor:
    """Return the power of two below each row's largest entry (B x 1); 1 for rows of zeros or with NaN or infinity."""
    largest = x_BR.abs().amax(dim=1, keepdim=True).double()
    units = largest / (2 * torch.frexp(largest).mantissa)  # exact, as the quotient is a power of two
    return torch.where(largest.isfinite() & (largest > 0), units, 1.0).to(x_BR.dtype)


def norms_of_rows(x_BR: Tensor) -> Tensor:
    """Return the norms of rows of any size (B)."""
    units = units_of_rows(x_BR)
    return (x_BR / units).norm(dim=1) * units.squeeze(1)
