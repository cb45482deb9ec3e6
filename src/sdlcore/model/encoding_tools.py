"""Searches, differentiable products and reconstructions for encoders that compute at entries of a batch.

`sdlcore.model.encoding` makes the tools of a batch and hands them to `Encoder.encode_at`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from sdlcore.parallel.groups import Processes
from sdlcore.parallel.search import divided
from sdlcore.sparse.kernels.interface import Kernels
from sdlcore.sparse.products import decode_at, encode_at
from sdlcore.sparse.search import LargestPerSample, Search
from sdlcore.sparse.support import Entries, Support, keep


class Weights(NamedTuple):
    """The weights of a model, as an `Encoder` sees them."""

    W_enc: Tensor
    """n_q x n_p."""
    b_enc: Tensor
    """n_q."""
    W_dec: Tensor
    """n_q x n_r: a row for each latent."""
    b_dec: Tensor
    """n_r."""


class SparseCode(NamedTuple):
    """The latents that an encoder computes at the N entries of a support."""

    support: Support
    pre: Tensor
    """Pre-activations of the last selection (N)."""
    values: Tensor
    """Latents (N)."""


@dataclass(frozen=True)
class EncodingTools:
    """Computes with the weights of a model at entries of a batch."""

    weights: Weights
    processes: Processes
    kernels: Kernels
    search: Callable[[Search, Tensor, Tensor, Tensor], Entries]
    """Finds the entries of a search, given samples, encoder rows and biases; without gradients."""

    def find(self, search: Search, x_BP: Tensor, W_QP: Tensor, b_Q: Tensor) -> Entries:
        """Return the entries that a search finds among W x + b, over all processes; nothing is differentiated."""
        return self.search(divided(search, self.processes), x_BP, W_QP, b_Q)

    def products(self, x_BP: Tensor, W_QP: Tensor, b_Q: Tensor, support: Support) -> Tensor:
        """Return W x + b at entries (N), differentiably."""
        return encode_at(x_BP, W_QP, b_Q, support)

    def reconstruct(self, values_N: Tensor, support: Support) -> Tensor:
        """Return W_D x_q + b_D of latents (B x n_r), differentiably."""
        return decode_at(values_N, support, self.weights.W_dec).rows.squeeze(1) + self.weights.b_dec

    def entries(self, sample_N: Tensor, latent_N: Tensor, B: int) -> tuple[Support, Tensor]:
        """Return the support of entries of B samples, and the place of each entry in it. Duplicates share a place."""
        n_q = len(self.weights.W_enc)
        keys, places = (sample_N * n_q + latent_N).unique(return_inverse=True)
        numbers = torch.bincount(keys // n_q, minlength=B)
        offsets = torch.nn.functional.pad(numbers.cumsum(0), (1, 0))
        return Support(offsets, (keys % n_q).int(), n_q, self.kernels), places

    @torch.no_grad()
    def narrow(self, search: LargestPerSample, support: Support, pre_N: Tensor) -> tuple[Support, Tensor]:
        """Return the positive entries that a search finds among the entries of a support, and their places in it."""
        return keep(support, (search.ranks(pre_N, support) < search.k) & (pre_N > 0))
