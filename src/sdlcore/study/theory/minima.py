"""Theorems 3.3 and 3.4: the ground truth as a dictionary, and all dictionaries of zero loss."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from sdlcore.study.theory.landscape import Problem, Weights, approximate_loss, pattern, residuals

NEARLY_ZERO = 1e-12
"""Losses below count as zero."""


def ground_truth(problem: Problem, n_q: int | None = None) -> Weights:
    """Return W_D = [W_r, 0] and W_E = [W_p^T; 0] (eq. 14), with n_q latents, n if left out."""
    spare = (n_q or problem.n) - problem.n
    if spare < 0:
        raise ValueError(f"{n_q} latents for {problem.n} features, expected as many or more")
    return Weights(*(np.vstack([W.T, np.zeros((spare, len(W)))]) for W in (problem.W_p, problem.W_r)))


def interference(W: np.ndarray) -> float:
    """Return M, the largest inner product of two columns (Assumption 2.4)."""
    return float((W.T @ W)[~np.eye(W.shape[1], dtype=bool)].max())


def thresholded(problem: Problem) -> Problem:
    """Return the problem with the threshold c = M, where that is positive, and above it by what products round by."""
    return replace(problem, threshold=max(interference(problem.W_p), 1e-3) * (1 + 1e-12), k=None)


class GroundTruth(NamedTuple):
    """Both sides of Theorem 3.3."""

    loss: float
    """Eq. (13) at the ground truth."""
    bound: float
    """M^2 sum_d M_d (K_d - 1)^2 (eq. 64)."""
    active: np.ndarray
    """K_d: latents that each feature alone activates (n)."""
    errors: np.ndarray
    """|| w_r^d - W_D sigma(W_E w_p^d) || (n)."""
    interference: float
    """M."""


def at_ground_truth(problem: Problem) -> GroundTruth:
    """Return what Theorem 3.3 and its proof speak of."""
    weights = ground_truth(problem)
    active = pattern(weights.W_enc, problem).sum(axis=0)
    M = interference(problem.W_p)
    bound = M**2 * problem.M @ np.square(active - 1.0)
    errors = np.linalg.norm(residuals(weights, problem), axis=0)
    return GroundTruth(approximate_loss(weights, problem), float(bound), active, errors, M)


def exponent(sizes: list[int], values: list[float]) -> float:
    """Return the slope of log values over log sizes."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def basis_with_opposite(A: np.ndarray) -> Weights:
    """Return W_E = [A; -A] and W_D = [A^-1, -A^-1]: under ReLU it returns its input, whatever that is.

    Parameters
    ----------
    A
        n_p x n_p, invertible.
    """
    inverse = np.linalg.inv(A).T
    return Weights(np.vstack([A, -A]), np.vstack([inverse, -inverse]))


def cosines(rows: np.ndarray, W: np.ndarray) -> np.ndarray:
    """Return the largest absolute cosine of each feature (n) with any row (n_q x dimension) that is not zero."""
    rows = rows[np.linalg.norm(rows, axis=1) > 0]
    return np.abs((rows / np.linalg.norm(rows, axis=1, keepdims=True)) @ W).max(axis=0)


def own_latents(problem: Problem, rng: np.random.Generator) -> Weights:
    """Return random weights of zero loss with a latent for each feature that no other feature activates.

    Features of the input must be linearly independent and those of the target unit vectors. The decoder is then the
    only one that there is, up to the scale of each column; encoder rows are free in all that keeps others silent.
    """
    z = -rng.exponential(size=(problem.n, problem.n))
    own = problem.threshold + rng.exponential(size=problem.n) + 0.1
    np.fill_diagonal(z, own)
    return Weights(z @ np.linalg.pinv(problem.W_p), problem.W_r.T / own[:, None])


def freedom(weights: Weights, problem: Problem) -> tuple[int, int]:
    """Return how many directions of the weights leave all residuals unchanged to first order, and how many there are.

    The pattern is held fixed. At a zero of the loss the former is the dimension of the set of solutions, where that is
    smooth.
    """
    active = pattern(weights.W_enc, problem)
    z_QD = active * (weights.W_enc @ problem.W_p)
    encoder = np.einsum("qd,qr,pd->drqp", active, weights.W_dec, problem.W_p)
    decoder = np.einsum("qd,rs->drqs", z_QD, np.eye(len(problem.W_r)))
    equations = problem.n * len(problem.W_r)
    jacobian = np.hstack([encoder.reshape(equations, -1), decoder.reshape(equations, -1)])
    unknowns = jacobian.shape[1]
    return unknowns - int(np.linalg.matrix_rank(jacobian, tol=1e-9)), unknowns
