"""The decoder of RA-SAE: rows that are mixtures of typical samples (Fel et al. 2025, arXiv 2502.12892).

W_D = A C + Lambda. The rows of C are centroids of the targets and stay as they are. Each row of A has weights that are
not negative and add up to one, and each row of Lambda, the relaxation, a norm of at most delta. A row of W_D therefore
lies within delta of the convex hull of the data.
"""

import torch
from torch import Tensor, nn

from sdlcore.sparse.kernels.tiles import multiply
from sdlcore.sparse.products import decode_at
from sdlcore.sparse.support import Support


class Archetypes(nn.Module):
    """A and Lambda, which training changes instead of W_D.

    A reconstruction is (x_q A) C + x_q Lambda, so a step needs no product of all latents with all centroids. W_D stays
    a parameter of the model, but steps neither read nor change it: `SparseCoder.write_rows` computes it.

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

    def decode_at(self, values_N: Tensor, support: Support, n_scales: int, detached: bool) -> Tensor:
        """Return the codes times W_D (B x groups x n_r). Arguments: as in `sdlcore.sparse.products.decode_at`."""
        mixtures, relaxations = (
            decode_at(values_N, support, rows, (), n_scales, detached).rows for rows in (self.weights, self.relaxation)
        )
        return mixtures @ self.centroids + relaxations

    @torch.no_grad()
    def constrain(self) -> None:
        """Make the weights of each row a mixture again, and shorten its relaxation to delta.

        As in the authors' code (KempnerInstitute/overcomplete), negative weights become zero, and the rest is divided
        by its sum. A row without a positive weight becomes the mean of all centroids.
        """
        total = self.weights.clamp_(min=0.0).sum(dim=1, keepdim=True)
        if (is_empty := total.squeeze(1) == 0).any():
            self.weights[is_empty], total[is_empty] = 1.0, float(self.weights.shape[1])
        self.weights.div_(total)
        norm = self.relaxation.norm(dim=1)
        if (is_long := norm > self.delta).any():
            self.relaxation[is_long] *= (self.delta / norm[is_long])[:, None]
