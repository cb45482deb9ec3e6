"""What of a model starts from the data."""

import torch
from torch import Tensor

from sdlcore.model import SparseCoder
from sdlcore.model.sigma import JumpReLU
from sdlcore.training.geometric_median import geometric_median


@torch.no_grad()
def start_from_data(model: SparseCoder, x_BP: Tensor, x_BR: Tensor) -> None:
    """Set biases (``center``) and what makes latents sparse (``init_l0``) of a fresh model from one batch.

    The geometric median, unlike the mean, is not moved by the few samples of huge norm that real activations have
    (Bricken et al. 2023; Gao et al. 2024).
    """
    if model.config.center:
        model.b_dec.copy_(geometric_median(x_BR))
        model.b_enc.copy_(-model.W_enc @ geometric_median(x_BP))
    if model.config.init_l0 is not None:
        threshold = _threshold(x_BP @ model.W_enc.T + model.b_enc, model.config.init_l0)
        if isinstance(model.sigma, JumpReLU):
            model.sigma.start_at(threshold)
        else:
            model.b_enc.sub_(threshold)


def _threshold(pre_BQ: Tensor, l0: float) -> Tensor:
    """Return what ``l0`` pre-activations of a sample exceed, on average."""
    wanted = min(round(l0 * len(pre_BQ)), pre_BQ.numel())
    largest = pre_BQ.flatten().topk(max(1, wanted)).values
    if not largest[-1] > 0:
        raise ValueError(f"init_l0 = {l0}: fewer pre-activations than that are positive; lower it")
    return largest[-1]
