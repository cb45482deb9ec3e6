"""Patterns of encoder rows: the directions that the rows respond to, which differ from the rows themselves.

The best linear read-out of a feature is its direction times the inverse covariance Sigma of the input, so that it
ignores the other features. The direction that such a row responds to is its *pattern*: the covariance of the input with
the row's output (Haufe et al. 2014, "On the interpretation of weight vectors of linear models in multivariate
neuroimaging", eq. 7, row by row). The pattern of a row w is Sigma w. For the row Sigma^-1 w_d, the best read-out of a
feature d that is uncorrelated with others, the pattern is w_d.
"""

from collections.abc import Iterable

import numpy as np


def covariance(blocks: Iterable[np.ndarray]) -> np.ndarray:
    """Return the covariance (d x d, float64) of samples that come in blocks (B x d), by Chan's update."""
    n_samples, mean, total = 0, np.zeros(0), np.zeros((0, 0))
    for block in blocks:
        x = block.astype(np.float64)
        block_mean = x.mean(0)
        centred = x - block_mean
        if not n_samples:
            mean, total = np.zeros_like(block_mean), np.zeros((len(block_mean), len(block_mean)))
        shift, whole = block_mean - mean, n_samples + len(x)
        total += centred.T @ centred + np.outer(shift, shift) * (n_samples * len(x) / whole)
        mean += shift * len(x) / whole
        n_samples = whole
    return total / n_samples


def patterns(W_enc_QP: np.ndarray, covariance_PP: np.ndarray) -> np.ndarray:
    """Return the pattern of each row: the covariance of the input with its pre-activation (n_q x n_p).

    The result stays in float64, because squares of very large or small activations exceed float32.
    """
    return W_enc_QP.astype(np.float64) @ covariance_PP
