"""The reconstruction error through which gates learn."""

from torch import Tensor
from torch.nn.functional import mse_loss

from sdlcore.model.coder import Forward, SparseCoder
from sdlcore.sparse.products import decode_at


def gate(model: SparseCoder, x_BR: Tensor, out: Forward, gates_N: Tensor) -> Tensor:
    """E || x_r - W_D gates - b_D ||^2, with a fixed decoder (Rajamanoharan et al. 2024a).

    The error is summed over dimensions and averaged over samples. ``x_BR`` is the target without a transcoder's linear
    path, and ``gates_N`` are the gates from `Activation.gates`.
    """
    # each scale's entries form a row, which holds only the increment to the scale before, so rows are summed
    decoded_BR = decode_at(gates_N, out.support, model.W_dec.detach()).rows.sum(1)
    x_hat_BR = model.processes.latents.sum(decoded_BR) + model.b_dec.detach()
    return mse_loss(x_hat_BR, x_BR, reduction="sum") / len(x_BR)
