"""The base class of sparsity-inducing activation functions sigma (section 2.4).

Each maps pre-activations z to latents sigma(z) >= 0, most of them zero (eq. 10; there sigma(z)_i is 0 or z_i, but
nothing here hangs on it). It does so in two steps, so that nothing else need be touched: `select` finds, among all
pre-activations of a batch (B x n_q), the entries whose latent may differ from zero or passes a gradient on, and
`values` gives the latents there (N), in torch, which differentiates them. Each has a module of its own
(`sdlcore.model.activations`), or is registered by a plugin (`sdlcore.model.activations.registry.activation`).
"""

from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from sdlcore.model.kernels.choice import kernels_for
from sdlcore.model.kernels.interface import Kernels
from sdlcore.model.preactivations import Entries, Preactivations
from sdlcore.model.support import Support, keep
from sdlcore.processes import ALONE, Group, Processes
from sdlcore.run import ModelConfig


class Sigma(nn.Module):
    """An activation function: what all have in common, to be subclassed."""

    processes: Processes = ALONE
    """Those that have other latents, or other samples of the batch."""

    @classmethod
    def of(cls, config: ModelConfig) -> Self:
        """Return the sigma of a model. Those that need its settings say here which."""
        return cls()

    def select(self, pre_BQ: Preactivations, slack: float = 1.0) -> Entries:
        """Return the entries that `values` needs. Where a number of them is kept, ``slack`` times as many, for
        pre-activations that are only near enough to tell which they might be."""
        return pre_BQ.above(pre_BQ.product.b.new_zeros(pre_BQ.shape[1]))

    def values(self, pre_N: Tensor, support: Support) -> Tensor:
        """Return the latents (N) of the pre-activations at the entries: none below zero, and zero far below it."""
        raise NotImplementedError(f"{type(self).__name__} does not say what its latents are")

    def forward(self, pre_N: Tensor, support: Support) -> Tensor:
        return self.values(pre_N, support)

    def penalised(self, pre_N: Tensor, values_N: Tensor) -> Tensor:
        """Return what the L1 penalty sums (N)."""
        return values_N

    def loss(self, x_BR: Tensor, pre_N: Tensor, support: Support, W_dec: Tensor, b_dec: Tensor) -> dict[str, Tensor]:
        """Return squared errors that sigma adds to the loss by itself (0-d each, by the names that histories have).

        They are summed over dimensions and averaged over samples; ``loss_scale: mean`` divides them by n_r.

        Parameters
        ----------
        x_BR
            The target, less a transcoder's linear path.
        pre_N, support
            Pre-activations at the entries.
        W_dec, b_dec
            The decoder: n_q x n_r, n_r.
        """
        return {}

    def initial(self, name: str) -> float | Tensor:
        """Return the value at which the latents' parameters called ``name`` start."""
        raise KeyError(name)

    @torch.no_grad()
    def start_at(self, threshold: Tensor, b_enc: Tensor) -> None:
        """Let, at the start of a training, only pre-activations above a threshold (0-d) pass, by what sigma has for it
        or by the encoder's biases (n_q)."""
        b_enc.sub_(threshold)

    def oracle(self, z_BN: np.ndarray, true_p: np.ndarray) -> np.ndarray:
        """Return the codes (B x n) of samples by the true features (`sdlcore.evaluation.oracle`).

        By default the latents that positive inner products have as pre-activations. One with a threshold that it has
        learned says here what takes its place.

        Parameters
        ----------
        z_BN
            Inner products of B samples with n features, those below zero as zero.
        true_p
            The features, n x n_p, unit rows.
        """
        if any(True for _ in self.parameters()):
            raise NotImplementedError(f"{type(self).__name__} does not say what it makes of true features")
        return self._dense_values(z_BN)

    @torch.no_grad()
    def _dense_values(self, z_BN: np.ndarray) -> np.ndarray:
        """Return the latents (B x n) of pre-activations, those that are zero left out."""
        found = np.nonzero(z_BN)
        offsets = np.concatenate([[0], np.cumsum(np.bincount(found[0], minlength=len(z_BN)))])
        device = torch.device("cpu")
        support = Support(torch.from_numpy(offsets), torch.from_numpy(found[1]), z_BN.shape[1], kernels_for(device))
        out = np.zeros_like(z_BN)
        out[found] = self.values(torch.from_numpy(z_BN[found]), support).numpy()
        return out

    def constrain(self) -> None:
        """Put parameters back where they must be."""


class Selecting(Sigma):
    """Keeps a given number of latents, those of the largest positive pre-activations."""

    def __init__(self, k: int | None) -> None:
        super().__init__()
        if k is None:
            raise ValueError(f"{type(self).__name__} needs k")
        self.k = k

    @classmethod
    def of(cls, config: ModelConfig) -> Self:
        return cls(config.k)

    def values(self, pre_N: Tensor, support: Support) -> Tensor:
        return torch.relu(pre_N)

    def largest(self, z_BN: np.ndarray) -> np.ndarray:
        """Return pre-activations (B x n) that are none below zero, with zero for those that are not kept."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it keeps of true features")

    def oracle(self, z_BN: np.ndarray, true_p: np.ndarray) -> np.ndarray:
        return self._dense_values(self.largest(z_BN))

    def narrow(self, found: Entries) -> Entries:
        """Return those of the entries that are kept where there are no others."""
        raise NotImplementedError

    def ranks(self, pre_N: Tensor, support: Support) -> Tensor:
        """Return for each entry (N) the number r such that k latents keep it if and only if r < k."""
        raise NotImplementedError


def ranks_among(values_BK: Tensor, group: Group, kernels: Kernels) -> Tensor:
    """Return the place (B x K) of each value among those of its row in all processes, descending from 0; of equal
    values the earlier process's, and in it the earlier, comes first."""
    every = group.gather(values_BK)
    size, B, width = every.shape
    offsets = torch.arange(B + 1, device=every.device) * size * width
    places = kernels.ranks(offsets, every.transpose(0, 1).flatten()).view(B, size, width)
    return places[:, group.rank, : values_BK.shape[1]]


def kept(found: Entries, mask_N: Tensor) -> Entries:
    """Return the entries of a mask (N)."""
    support, places = keep(found.support, mask_N)
    return Entries(support, found.pre[places])


def above_interference(z_BN: np.ndarray, true_p: np.ndarray) -> np.ndarray:
    """Return codes as `Sigma.oracle`: what exceeds the largest inner product of two features, which a single active
    feature of magnitude 1 does not exceed at any other."""
    inner = true_p @ true_p.T
    np.fill_diagonal(inner, -np.inf)
    return np.where(z_BN > inner.max(), z_BN, 0)


def largest_codes(z_BN: np.ndarray, k: int) -> np.ndarray:
    """Return codes as `Sigma.oracle`: the k largest of each row, of those above zero; of equal ones the first."""
    if k >= z_BN.shape[1]:
        return z_BN
    least = np.partition(z_BN, -k, axis=1)[:, -k, None]
    above, equal = z_BN > least, z_BN == least
    room = k - above.sum(axis=1, keepdims=True)
    return np.where(above | (equal & (equal.cumsum(axis=1) <= room)), z_BN, 0)
