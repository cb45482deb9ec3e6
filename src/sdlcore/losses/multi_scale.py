"""The multi-scale loss (eq. 9): reconstruction errors of several sparsities or sizes, in the place of one."""

from torch import Tensor
from torch.nn.functional import mse_loss

from sdlcore.losses.term import Term, TermInputs


def multi_scale(x_BR: Tensor, scales_BSR: Tensor) -> Tensor:
    """sum_i E || x_r - W_D sigma_i(W_E x_p) ||^2 over B x scales x n_r reconstructions (eq. 9, with lambda_i = 1)."""
    return mse_loss(scales_BSR, x_BR[:, None].expand_as(scales_BSR), reduction="sum") / len(x_BR)


def _compute(inputs: TermInputs) -> Tensor:
    return multi_scale(inputs.target, inputs.out.scales)


TERM = Term("multi_scale", _compute, None)
