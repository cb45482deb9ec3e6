"""Judge dictionaries by loss and recovery: Theorem 3.4 allows near-zero loss without recovery."""

from typing import NamedTuple, Self

import numpy as np
import scipy.sparse
import torch

from sdlcore.data.recovery_rule import recovered
from sdlcore.evaluation.recovery import Match, best_match, normalise_rows
from sdlcore.model.activation import refuse_signed
from sdlcore.model.coder import SparseCoder

NEAR_ZERO = 1e-3
"""Fraction of variance unexplained below which a loss counts as near zero."""


class Solution(NamedTuple):
    """The loss of an autoencoder and its recovery of n features."""

    loss: float
    """Eq. (3): mean over samples of the summed squared error."""
    fvu: float
    """The reconstruction error as a fraction of the variance."""
    approximate_loss: float
    """Eq. (13): the loss on samples of a single active feature."""
    l0: float
    """Mean number of active latents."""
    silent: np.ndarray
    """Whether each latent is never active (n_q booleans)."""
    encoder: Match
    """The features' best encoder rows, by |cosine|."""
    decoder: Match
    """The features' best decoder columns, by |cosine|."""

    @classmethod
    def of(cls, model: SparseCoder, W: np.ndarray, x: scipy.sparse.csr_array, samples: np.ndarray) -> Self:
        """Evaluate an autoencoder, in evaluation mode, on held-out samples (N x n_p, float32).

        W are the true features (n_p x n, unit columns), and x the coefficients (N x n) that the samples are made from.
        """
        with torch.no_grad():
            out = model(torch.from_numpy(samples))
        error = np.square(samples.astype(np.float64) - out.x_hat.numpy()).sum(axis=1).mean()
        active = out.latents().numpy() > 0
        return cls(
            loss=float(error),
            fvu=float(error / samples.astype(np.float64).var(axis=0).sum()),
            approximate_loss=approximate_loss(model, W, x),
            l0=float(active.sum(axis=1).mean()),
            silent=~active.any(axis=0),
            encoder=best_match(normalise_rows(model.W_enc.detach().numpy()), W.T),
            decoder=best_match(normalise_rows(model.W_dec.detach().numpy()), W.T),
        )

    @property
    def near_zero(self) -> bool:
        return self.fvu < NEAR_ZERO

    @property
    def recovered(self) -> tuple[int, int]:
        """Numbers of features that the encoder and the decoder recover."""
        return int(recovered(self.encoder.similarity).sum()), int(recovered(self.decoder.similarity).sum())


def approximate_loss(model: SparseCoder, W: np.ndarray, x: scipy.sparse.csr_array) -> float:
    """Return sum_d M_d |w_d - W_D sigma(W_E w_d)|^2 (eq. 13) for an autoencoder without biases.

    W are the features (n_p x n). M_d = Pr(only d is active) E[x_d^2 | only d is active] is estimated from the
    coefficients x (N x n).

    Raises
    ------
    ValueError
        If latents are signed: eq. (13) sums over the non-negative codes of single features.
    """
    refuse_signed(model.sigma, "the loss of single features (eq. 13)")
    dense = x.toarray().astype(np.float64)
    alone = (dense > 0).sum(axis=1) == 1
    M = np.square(dense[alone]).sum(axis=0) / len(dense)
    with torch.no_grad():
        x_hat = model(torch.from_numpy(np.ascontiguousarray(W.T))).x_hat.numpy()
    return float(M @ np.square(W.T.astype(np.float64) - x_hat).sum(axis=1))
