"""Train a dictionary by the behaviour of the model that its activations come from, beside the reconstruction error.

The divergence between the model's predictions with and without the dictionary in it takes a share s of the loss:

    (1 - s) error + s c divergence,   c = error / divergence, a constant for the gradient

So the loss keeps its value when s changes, and with it the learning rate and the weights of penalties keep their
meaning. Karvonen (2025) balances the two in this way. Braun et al. (2024) train by the divergence alone: s = 1.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor


class Behaviour(ABC):
    """A model whose activations a dictionary reconstructs, and whose predictions it should keep."""

    @abstractmethod
    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Return x_p (B x n_p) and x_r (B x n_r) of a step, float32; steps come in their order."""

    @abstractmethod
    def behaviour_loss(self, x_hat_BR: Tensor, error: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the summand of the loss that replaces the reconstruction error, and terms for the history.

        Parameters
        ----------
        x_hat_BR
            Normalised reconstruction of the last batch.
        error
            Its error in the loss (0-d).
        """


def blended(error: Tensor, divergence: Tensor, objective: Tensor, share: float) -> Tensor:
    """Return the loss of this module (0-d), with the gradient of ``objective`` in place of the divergence's.

    Parameters
    ----------
    error, divergence
        The reconstruction error, and the divergence, which sets the weight c.
    objective
        The divergence itself, or the cross-entropy of the text. Their gradients have the same scale: they agree in
        expectation on text that the model itself predicts.
    share
        s, from 0 to 1.
    """
    # a perfect reconstruction has no divergence, and no gradient either
    smallest = torch.finfo(divergence.dtype).tiny
    weight = error.detach() / divergence.detach().clamp(min=smallest)
    return (1 - share) * error + share * weight * objective
