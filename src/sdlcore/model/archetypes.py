"""The decoder of RA-SAE: rows that are mixtures of typical samples (Fel et al. 2025, arXiv 2502.12892).

W_D = A C + Lambda. The rows of C are centroids of the targets and stay as they are. Each row of A has weights that are
not negative and add up to one, and each row of Lambda, the relaxation, a norm of at most delta. A row of W_D therefore
lies within delta of the convex hull of the data.
"""

import torch
from torch import Tensor, nn

from sdlcore.sparse.kernels.tiles import multiply


class Archetypes(nn.Module):
    """A and Lambda, which training changes instead of W_D.

    W_D stays a parameter of the model, which the forward pass and all loss terms read and sparse kernels differentiate.
    `take_gradients` lets its gradient go to A and Lambda, and `SparseCoder.constrain` writes W_D anew.

    Parameters
    ----------
    centroids
        C, one in each row.
    n_q
        Number of latents. Latent i starts at centroid i, modulo their number.
    delta
        Largest norm of a row of Lambda.
    """

    centroids: Tensor

    def __init__(self, centroids: Tensor, n_q: int, delta: float) -> None:
        super().__init__()
        self.delta = delta
        self.register_buffer("centroids", centroids)
        start = torch.arange(n_q) % len(centroids)
        self.weights = nn.Parameter(nn.functional.one_hot(start, len(centroids)).to(centroids))
        self.relaxation = nn.Parameter(centroids.new_zeros(n_q, centroids.shape[1]))

    @torch.no_grad()
    def forward(self) -> Tensor:
        """Return W_D (n_q x n_r), without gradients."""
        return multiply(self.weights, self.centroids.T.contiguous()) + self.relaxation

    def take_gradients(self, W_dec: nn.Parameter) -> None:
        """From now on, pass each complete gradient of ``W_dec`` on to A and Lambda, and remove it there."""

        def pass_on(_: Tensor) -> None:
            gradient, W_dec.grad = W_dec.grad, None
            if gradient is None:
                return
            # W_D is linear in A and Lambda, so their gradients need no forward pass
            for parameter, slope in ((self.weights, multiply(gradient, self.centroids)), (self.relaxation, gradient)):
                parameter.grad = slope if parameter.grad is None else parameter.grad.add_(slope)

        W_dec.register_post_accumulate_grad_hook(pass_on)

    @torch.no_grad()
    def constrain(self) -> None:
        """Make the weights of each row a mixture again, and shorten its relaxation to delta.

        As in the authors' code (KempnerInstitute/overcomplete), negative weights become zero, and the rest is divided
        by its sum. A row without a positive weight becomes the mean of all centroids.
        """
        weights = self.weights.clamp_(min=0.0)
        total = weights.sum(dim=1, keepdim=True)
        weights.copy_(torch.where(total > 0, weights / total, 1 / weights.shape[1]))
        norm = self.relaxation.norm(dim=1, keepdim=True)
        self.relaxation.mul_((self.delta / norm.clamp(min=1e-30)).clamp(max=1.0))
