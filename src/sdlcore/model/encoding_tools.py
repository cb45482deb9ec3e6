"""Tools of encoders that compute at entries of a batch: weights, kernels, searches, and the form of a code.

`sdlcore.model.encoding` makes the tools of a batch and hands them to `Encoder.encode_at`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from sdlcore.sparse.kernels.interface import Kernels
from sdlcore.sparse.search import Search
from sdlcore.sparse.support import Entries, Support


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
    """The weights of a model, and computations at entries of a batch."""

    weights: Weights
    kernels: Kernels
    find: Callable[[Search, Tensor, Tensor, Tensor], Entries]
    """Returns the entries that a search finds among W x + b in all processes, given x, W and b; without gradients."""

    def code(self, sample_N: Tensor, latent_N: Tensor, values_N: Tensor, B: int) -> SparseCode:
        """Return the code of B samples from its entries, in any order. Values of the same entry are added."""
        n_q = len(self.weights.W_enc)
        keys, places = (sample_N * n_q + latent_N).unique(return_inverse=True)
        offsets = torch.nn.functional.pad(torch.bincount(keys // n_q, minlength=B).cumsum(0), (1, 0))
        values = values_N.new_zeros(len(keys)).index_add(0, places, values_N)
        return SparseCode(Support(offsets, (keys % n_q).int(), n_q, self.kernels), values, values)
