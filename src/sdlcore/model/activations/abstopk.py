"""AbsTopK: the latents are the k pre-activations of a sample that are largest in absolute value, with their signs."""

import torch
from torch import Tensor

from sdlcore.model.activation import Selecting
from sdlcore.sparse.search import LargestPerSample, Search, largest
from sdlcore.sparse.support import Support


class AbsTopK(Selecting):
    """z where |z| is among the k largest of its sample, zero elsewhere (Zhu et al. 2025, arXiv 2510.00404).

    This is hard thresholding, the proximal operator of the constraint of at most k non-zero codes. One latent may so
    represent a direction and its opposite. The paper's published code also selects over a whole batch; this is the
    paper's own definition, per sample.
    """

    signed = True

    def forward(self, pre: Tensor) -> Tensor:
        return torch.where(largest(pre.abs(), self.k), pre, 0.0)

    def search(self) -> Search:
        return LargestPerSample(self.k, signed=True)

    def values(self, pre: Tensor, support: Support) -> Tensor:
        return pre


ACTIVATION = AbsTopK
