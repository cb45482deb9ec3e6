"""Put the latents that fire most often first, so that the prefixes of a Matryoshka dictionary hold these."""

import torch
from torch import Tensor

from sdlcore.model.coder import SparseCoder
from sdlcore.training.adam import Adam
from sdlcore.training.own_parts import TorchOptimizer
from sdlcore.training.resampling import DeadLatents


@torch.no_grad()
def reorder(model: SparseCoder, optimizer: Adam | TorchOptimizer, dead: DeadLatents, firings_Q: Tensor) -> Tensor:
    """Sort the latents by how often they fired, in place, and return where each latent was before.

    Latents that fired equally often keep their order. The rows of weights, of the activation's parameters and of the
    optimiser's moments move with them.

    Parameters
    ----------
    model, optimizer, dead
        Changed in place; all latents are in this process.
    firings_Q
        Number of samples that activated each latent.
    """
    order = torch.argsort(firings_Q, descending=True, stable=True)
    parameters = {model.get_parameter(name) for name in model.latent_names}  # tied weights once
    for parameter in parameters:
        moments = optimizer.state.get(parameter, {}).values()
        for tensor in [parameter, *(m for m in moments if isinstance(m, Tensor) and m.shape == parameter.shape)]:
            tensor.copy_(tensor[order])
    dead.silent = dead.silent[order]
    return order
