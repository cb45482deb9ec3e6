"""Sparse coefficients and the representations synthesised from them (Appendix C.2 and C.3)."""

import numpy as np
import scipy.sparse

from sdlcore.bench.hierarchy import Hierarchy


def coefficients(
    n_samples: int,
    n: int,
    sparsity: float,
    rng: np.random.Generator,
    c_min: float = 0.0,
    beta: float = 1.0,
    hierarchy: Hierarchy | None = None,
) -> scipy.sparse.csr_array:
    """Draw ground-truth features x (eq. 29-30).

    Each of the n features of each sample is active with probability 1 - S, independently; an active one has magnitude
    c_min + Exp(beta), beta being the scale (the mean).

    With a ``hierarchy`` of C children, a parent is active where a child is, so with probability 1 - S^C. Its magnitude
    is drawn like any other's: were it a function of its children's, a parent would be no feature of its own but a part
    of their directions. Which other features are active does not depend on the hierarchy.

    Returns
    -------
    n_samples x n matrix, float32. Explicit entries are the active features.

    Raises
    ------
    ValueError
        If the hierarchy has more than n features.
    """
    active = rng.random((n_samples, n)) < 1 - sparsity
    if hierarchy is not None:
        if hierarchy.size > n:
            raise ValueError(f"{hierarchy} has {hierarchy.size} features, but n is {n}")
        families = active[:, hierarchy.parents : hierarchy.size].reshape(-1, hierarchy.parents, hierarchy.children)
        active[:, : hierarchy.parents] = families.any(axis=2)
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
