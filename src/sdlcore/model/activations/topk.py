"""TopK: the latents are the k largest pre-activations of a sample."""

import numpy as np
import torch
from torch import Tensor

from sdlcore.model.kernels.interface import SparseRows
from sdlcore.model.preactivations import Entries, Preactivations
from sdlcore.model.sigma import Selecting, kept, largest_codes, ranks_among
from sdlcore.model.support import Support


class TopK(Selecting):
    """The k largest positive pre-activations of each sample (eq. 7)."""

    def select(self, pre_BQ: Preactivations, slack: float = 1.0) -> Entries:
        found = pre_BQ.largest(min(round(slack * self.k), pre_BQ.shape[1]))
        if self.processes.latents.size == 1:
            return found
        return kept(found, self.ranks(found.pre, found.support) < round(slack * self.k))

    def narrow(self, found: Entries) -> Entries:
        support, pre_N = found
        if self.processes.latents.size > 1:
            return kept(found, self.ranks(pre_N, support) < self.k)
        offsets, columns, values = support.kernels.narrow(SparseRows(support.offsets, support.columns, pre_N), self.k)
        return Entries(Support(offsets, columns, support.n_q, support.kernels), values)

    def ranks(self, pre_N: Tensor, support: Support) -> Tensor:
        latents = self.processes.latents
        if latents.size == 1:
            return support.kernels.ranks(support.offsets, pre_N)
        width = int(torch.diff(support.offsets).max())
        places_N = torch.arange(len(pre_N), device=pre_N.device) - support.offsets[support.rows]
        values_BK = pre_N.new_full((support.n_rows, width), -torch.inf)
        values_BK[support.rows, places_N] = pre_N
        return ranks_among(values_BK, latents, support.kernels)[support.rows, places_N]

    def largest(self, z_BN: np.ndarray) -> np.ndarray:
        return largest_codes(z_BN, self.k)


SIGMA = TopK
