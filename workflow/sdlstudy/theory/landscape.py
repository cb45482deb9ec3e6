"""Patterns and descent of the approximate loss, and the random problems that checks use."""

from typing import NamedTuple

import numpy as np

from sdlstudy.theory.approximate_loss import Problem, Weights, approximate_loss, codes, gradients, residuals

ACTIVATIONS = ("relu", "jumprelu", "topk")


def unit_columns(dimension: int, n: int, rng: np.random.Generator) -> np.ndarray:
    """Return random directions, dimension x n."""
    W = rng.standard_normal((dimension, n))
    return W / np.linalg.norm(W, axis=0)


def random_problem(
    rng: np.random.Generator, activation: str, latents: int | None = None, k: int | None = None
) -> tuple[Problem, Weights]:
    """Return a problem of 2 to 5 features, and a random dictionary in which every feature activates some latent.

    Features of input and target are unit vectors of 2 to 4 dimensions, drawn independently of each other.
    """
    while True:
        n, n_p, n_r = int(rng.integers(2, 6)), int(rng.integers(2, 5)), int(rng.integers(2, 5))
        n_q = latents or int(rng.integers(2, 5))
        problem = Problem(
            unit_columns(n_p, n, rng),
            unit_columns(n_r, n, rng),
            rng.uniform(0.2, 2, n),
            threshold=float(rng.uniform(0.05, 0.5)) if activation == "jumprelu" else 0.0,
            k=(k or int(rng.integers(1, n_q + 1))) if activation == "topk" else None,
        )
        weights = Weights(rng.standard_normal((n_q, n_p)), rng.standard_normal((n_q, n_r)))
        if pattern(weights.W_enc, problem).any(axis=0).all():
            return problem, weights


def pattern(W_enc: np.ndarray, problem: Problem) -> np.ndarray:
    """Return which latents each feature alone activates (Definition 3.6), n_q x n booleans."""
    return codes(W_enc, problem) > 0


def gradient_norm(weights: Weights, problem: Problem) -> float:
    """Return the largest entry of the gradients, in absolute value."""
    return max(float(np.abs(part).max()) for part in gradients(weights, problem))


def descend(weights: Weights, problem: Problem, steps: int = 3000, lr: float = 0.05) -> Weights:
    """Train by plain gradient steps on eq. (11), which may cross from one region to another."""
    for _ in range(steps):
        slope = gradients(weights, problem)
        weights = Weights(weights.W_enc - lr * slope.W_enc, weights.W_dec - lr * slope.W_dec)
    return weights


def perturbed(weights: Weights, rng: np.random.Generator, size: float = 1e-3) -> Weights:
    """Return weights with Gaussian noise of standard deviation ``size``."""
    return Weights(*(part + size * rng.standard_normal(part.shape) for part in weights))


def best_decoder(W_enc: np.ndarray, problem: Problem) -> np.ndarray:
    """Return the W_dec (n_q x n_r) of least norm that minimises eq. (11) for fixed W_E (eq. 76)."""
    root = np.sqrt(problem.M)[:, None]
    return np.linalg.lstsq(root * codes(W_enc, problem).T, root * problem.W_r.T, rcond=None)[0]


def with_best_decoder(W_enc: np.ndarray, problem: Problem) -> Weights:
    """Return an encoder with its best decoder."""
    return Weights(W_enc, best_decoder(W_enc, problem))


def best_encoder(weights: Weights, problem: Problem) -> np.ndarray:
    """Return the minimiser W_enc of eq. (11) for fixed W_D and a fixed pattern that is nearest to the present W_enc.

    The region's inequalities are not imposed: the caller checks whether the minimiser is in the region.
    """
    active = pattern(weights.W_enc, problem)
    root = np.sqrt(problem.M)
    # rows (feature, r), columns (latent, p)
    design = np.einsum("d,qd,qr,pd->drqp", root, active, weights.W_dec, problem.W_p)
    target = (root * residuals(weights, problem)).T.reshape(-1)
    step = np.linalg.lstsq(design.reshape(len(target), -1), target, rcond=None)[0]
    return weights.W_enc + step.reshape(weights.W_enc.shape)


class Search(NamedTuple):
    """The result of alternating minimisation."""

    weights: Weights
    losses: list[float]
    """Eq. (11) at the start and after each iteration."""
    left_after: int | None
    """Iteration at which the encoder left its first region, which ends the search; None if it did not leave."""


def alternate(weights: Weights, problem: Problem, iterations: int = 100) -> Search:
    """Minimise alternately over W_D and over W_E with the first pattern, until the encoder leaves its region."""
    start = pattern(weights.W_enc, problem)
    losses = [approximate_loss(weights, problem)]
    for iteration in range(1, iterations + 1):
        weights = with_best_decoder(weights.W_enc, problem)
        weights = Weights(best_encoder(weights, problem), weights.W_dec)
        losses.append(approximate_loss(weights, problem))
        if (pattern(weights.W_enc, problem) != start).any():
            return Search(weights, losses, iteration)
    return Search(weights, losses, None)
