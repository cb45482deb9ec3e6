"""Sparse coefficients and the representations synthesised from them (Appendix C.2 and C.3)."""

import numpy as np
import scipy.sparse


def coefficients(
    n_samples: int, n: int, sparsity: float, rng: np.random.Generator, c_min: float = 0.0, beta: float = 1.0
) -> scipy.sparse.csr_array:
    """Draw ground-truth features x (eq. 29-30).

    Each of the n features of each sample is active with probability 1 - S, independently; an active one has magnitude
    c_min + Exp(beta), beta being the scale (the mean).

    Returns
    -------
    n_samples x n matrix, float32. Explicit entries are the active features.
    """
    active = rng.random((n_samples, n)) < 1 - sparsity
    rows, columns = np.nonzero(active)
    magnitudes = (c_min + rng.exponential(beta, len(rows))).astype(np.float32)
    return scipy.sparse.csr_array((magnitudes, (rows, columns)), shape=(n_samples, n))


def synthesise(x: scipy.sparse.csr_array, W: np.ndarray) -> np.ndarray:
    """Return the representations W x of every sample (eq. 31).

    Parameters
    ----------
    x
        N x n coefficients.
    W
        dimension x n feature matrix.

    Returns
    -------
    N x dimension, float32.
    """
    return np.asarray(x @ W.T, dtype=np.float32)
