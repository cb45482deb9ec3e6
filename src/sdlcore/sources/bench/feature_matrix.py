"""Draw ground-truth feature matrices with bounded interference (Appendix C.1)."""

from typing import NamedTuple

import numpy as np

from sdlcore.random_streams import stream, torch_stream
from sdlcore.sources.bench.settings import BenchFeatures, FeatureMatrixConfig


class InterferenceError(ValueError):
    """The bound on interference was not reached; the message gives the largest inner product that remained."""


# the paper does not give the margin and the weight of the second term in eq. (27); these values reach M = .05 at n =
# 1000, n_p = 768
MARGIN = 0.1
"""epsilon of eq. (27) as a share of M."""
NEGATIVE_INTERFERENCE = 1e-4
"""lambda of eq. (27)."""


class FeatureMatrix(NamedTuple):
    """A feature matrix and its measured interference."""

    W: np.ndarray
    """dimension x n, float32, unit-norm columns."""
    max_signed: float
    """Largest inner product of two different columns."""
    max_absolute: float
    """Largest absolute inner product of two different columns."""
    iterations: int
    """Gradient steps taken."""


def draw_matrices(bench: BenchFeatures, seed: int) -> dict[str, FeatureMatrix]:
    """Draw the feature matrices ``W_p`` and, if the bench has a second representation, ``W_r`` (Appendix C.1).

    Raises
    ------
    InterferenceError
        If the bound on interference is not reached (`feature_matrix`).
    """
    drawn = {}
    for name, dimension in (("W_p", bench.n_p), ("W_r", bench.n_r)):
        if dimension is not None:
            start = leaked_start(dimension, bench.n, seed) if bench.seed_leak else None
            drawn[name] = feature_matrix(dimension, bench.n, stream(seed, "feature matrix", name), bench, start)
    return drawn


def leaked_start(dimension: int, n: int, seed: int) -> np.ndarray:
    """Return the start of a feature matrix (dimension x n, not normalised) from the stream that initialises models.

    Drawing features from this stream reproduces a mistake on purpose. If the same seed is set before drawing the
    features and again before creating the model, the first n latents start at the features. It is unknown whether the
    paper's authors set the same seed twice; docs/paper.md shows the effect on recovery. With tied (normal)
    initialisation, column i equals the initial latent i. With linear (uniform) initialisation, the two are correlated.
    """
    import torch  # imported here, since a bench without the leak does not need it

    return torch.randn(n, dimension, generator=torch_stream(seed, "initialisation")).T.double().numpy()


def feature_matrix(
    dimension: int,
    n: int,
    rng: np.random.Generator,
    config: FeatureMatrixConfig | None = None,
    start: np.ndarray | None = None,
) -> FeatureMatrix:
    """Draw n unit vectors and push them apart until their interference is at most M (eq. 26-28).

    Parameters
    ----------
    dimension
        n_p (or n_r).
    n
        Number of features.
    rng
        Generator of the Gaussian start.
    config
        Settings; None for the paper's defaults.
    start
        Start (dimension x n) instead of the Gaussian one.

    Raises
    ------
    InterferenceError
        If columns collapse onto each other, M is not reached in ``max_iterations``, or M is below the Welch bound.
    """
    config = config or FeatureMatrixConfig()
    _refuse_impossible(dimension, n, config)
    W = rng.standard_normal((dimension, n)) if start is None else start.copy()
    W /= np.linalg.norm(W, axis=0)
    for iteration in range(config.max_iterations + 1):
        # the bound is checked on float32, since float32 is returned
        rounded = W.astype(np.float32)
        gram = (rounded.T @ rounded).astype(np.float64)
        np.fill_diagonal(gram, 0.0)
        signed = float(gram[~np.eye(n, dtype=bool)].max())
        absolute = float(np.abs(gram).max())
        if (signed if config.bound == "signed" else absolute) <= config.max_interference:
            return FeatureMatrix(rounded, signed, absolute, iteration)
        if absolute > 0.999 and iteration > 0:
            raise InterferenceError(
                f"columns of the {dimension} x {n} feature matrix collapsed onto each other (inner product "
                f"{absolute:.4f}) after {iteration} steps; lower learning_rate from {config.learning_rate} or raise "
                f"max_interference from {config.max_interference}, or lower n"
            )
        W -= config.learning_rate * _interference_gradient(W, gram, config)
        W /= np.linalg.norm(W, axis=0)
    raise InterferenceError(
        f"max_interference {config.max_interference} ({config.bound}) was not reached for {n} features in {dimension} "
        f"dimensions after {config.max_iterations} steps: the largest inner product is {signed:.4f} signed, "
        f"{absolute:.4f} absolute; raise max_interference or max_iterations, or lower n"
    )


def _interference_gradient(W: np.ndarray, gram: np.ndarray, config: FeatureMatrixConfig) -> np.ndarray:
    """Return the gradient of the soft-thresholded interference loss (eq. 27), in which every pair counts twice."""
    limit = config.max_interference * (1 - MARGIN)
    slope = np.maximum(0, gram - limit)
    if config.bound == "absolute":
        slope -= np.maximum(0, -gram - limit)
    else:
        slope += NEGATIVE_INTERFERENCE * np.maximum(0, gram)
    return 4 * (W @ slope)


def _refuse_impossible(dimension: int, n: int, config: FeatureMatrixConfig) -> None:
    if config.bound == "absolute" and n > dimension:
        least = np.sqrt((n - dimension) / (dimension * (n - 1)))
        if config.max_interference < least:
            raise InterferenceError(
                f"max_interference {config.max_interference} (absolute) is out of reach: {n} unit vectors in "
                f"{dimension} dimensions have two with an absolute inner product of at least {least:.4f} (Welch bound)"
            )
