"""The approximate loss of small problems.

The approximate loss L~ (eq. 11 of arXiv 2512.05534) is the loss on samples with a single active feature. All
computations are in float64. Features are columns, as in the paper: W_p is n_p x n and W_r is n_r x n. Weights are
stored by latent, as in models: W_enc is n_q x n_p and W_dec is n_q x n_r (the paper's W_D transposed).
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


@dataclass(frozen=True)
class Problem:
    """Features and their weights: everything that the approximate loss depends on besides the dictionary."""

    W_p: np.ndarray
    """n_p x n features of the input."""
    W_r: np.ndarray
    """n_r x n features of the target."""
    M: np.ndarray
    """n weights: M_d = Pr(d alone is active) E[x_d^2 | d is active]."""
    threshold: float = 0.0
    """c: sigma(z) = z 1(z > c)."""
    k: int | None = None
    """Largest number of positive latents that TopK keeps; None keeps all."""

    @property
    def n(self) -> int:
        """Number of features."""
        return self.W_p.shape[1]


class Weights(NamedTuple):
    """A dictionary without biases."""

    W_enc: np.ndarray
    """n_q x n_p."""
    W_dec: np.ndarray
    """n_q x n_r."""


def autoencoder(W: np.ndarray, M: np.ndarray | None = None, threshold: float = 0.0, k: int | None = None) -> Problem:
    """Return the problem of an autoencoder, W_r = W_p; each M_d is 1 if left out."""
    return Problem(W, W, np.ones(W.shape[1]) if M is None else M, threshold, k)


def activate(z_QB: np.ndarray, problem: Problem) -> np.ndarray:
    """Return sigma of pre-activations (n_q x B). Among equal pre-activations, TopK keeps the first."""
    if problem.k is not None and problem.k < len(z_QB):
        order = np.argsort(-z_QB, axis=0, kind="stable")[: problem.k]
        is_active = np.zeros(z_QB.shape, bool)
        np.put_along_axis(is_active, order, True, axis=0)
        z_QB = np.where(is_active, z_QB, 0.0)
    return np.where(z_QB > problem.threshold, z_QB, 0.0)


def codes(W_enc: np.ndarray, problem: Problem) -> np.ndarray:
    """Return z_d = sigma(W_E w_p^d) of each feature alone, n_q x n."""
    return activate(W_enc @ problem.W_p, problem)


def residuals(weights: Weights, problem: Problem) -> np.ndarray:
    """Return w_r^d - W_D sigma(W_E w_p^d), n_r x n."""
    return problem.W_r - weights.W_dec.T @ codes(weights.W_enc, problem)


def approximate_loss(weights: Weights, problem: Problem) -> float:
    """Return L~ = sum_d M_d || w_r^d - W_D sigma(W_E w_p^d) ||^2 (eq. 11)."""
    return float(problem.M @ np.square(residuals(weights, problem)).sum(axis=0))


def gradients(weights: Weights, problem: Problem) -> Weights:
    """Return the gradients of eq. (11), by eq. (45) and (49)."""
    z_QD = codes(weights.W_enc, problem)
    weighted = -2 * problem.M * residuals(weights, problem)
    return Weights(((weights.W_dec @ weighted) * (z_QD > 0)) @ problem.W_p.T, z_QD @ weighted.T)
