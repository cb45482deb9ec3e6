"""The contrast of T-SAE: neighbouring tokens have similar high-level latents, and other tokens have different ones."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from sdlcore.model.losses.term import Term, TermInputs

SMALLEST = 1e-12
"""Squared norm below which latents have no direction."""


def contrast(inputs: TermInputs) -> Tensor:
    """(H(S) + H(S^T)) / 2, where S_ij compares token i of the batch with the neighbour of token j.

    Row 2 i + 1 of the batch is the neighbour of row 2 i. The latents of the first prefix are compared, or all latents
    without prefixes.

    S_ij is the cosine, or the inner product, of the first latents of both tokens. H is the cross-entropy of the rows'
    softmax with the identity (Bhalla et al. 2025, arXiv 2511.05541; InfoNCE). So each token should find its own
    neighbour in the batch, and each neighbour its token. The paper trains a Matryoshka BatchTopK with the prefixes n_q
    / 5 and n_q, and compares the first prefix. Differences from the authors' code
    (AI4LIFE-GROUP/temporal-saes):

    - The code compares by inner products. Descriptions of the paper name cosines, the default here. Neither has a
      temperature.
    - The code takes a neighbour as the token before or, by default, as a random earlier token of the context. Here it
      is always the token before.
    - The code reconstructs only the later token, and lets BatchTopK choose latents in each half of the batch. Here both
      tokens are rows of one batch, and no token is in two pairs of an epoch.
    - The code weighs the prefixes' errors by .2 and .8 and averages them. Here `multi_scale` adds them.
    """
    out, config = inputs.out, inputs.config
    support, first = out.support, config.prefixes[0] if config.prefixes else out.support.n_q
    inside_N = support.columns < first
    place_N = support.samples * first + support.columns
    codes = out.values.new_zeros(support.n_samples * first).index_add(0, place_N[inside_N], out.values[inside_N])
    tokens_CQ, neighbours_CQ = codes.view(support.n_samples // 2, 2, first).unbind(1)
    similarity_CC = tokens_CQ @ neighbours_CQ.T
    if config.contrast_similarity == "cosine":
        token_C, neighbour_C = (_norms(part.square().sum(1)) for part in (tokens_CQ, neighbours_CQ))
        similarity_CC = similarity_CC / (token_C[:, None] * neighbour_C)
    diagonal = torch.arange(len(similarity_CC), device=similarity_CC.device)
    return (cross_entropy(similarity_CC, diagonal) + cross_entropy(similarity_CC.T, diagonal)) / 2


def _norms(squares_C: Tensor) -> Tensor:
    """Return square roots; 1 for latents without a direction, whose cosines are then 0."""
    return torch.where(squares_C > SMALLEST, squares_C, 1.0).sqrt()


TERM = Term("contrast", contrast, "contrast")
