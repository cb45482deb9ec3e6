"""Exact values of the loss (eq. 3) and of the approximate loss (eq. 11).

Features have a joint distribution over finitely many states. Expectations are sums over these states, so nothing is
sampled.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.stats

from sdlstudy.theory.approximate_loss import Problem, Weights, activate, approximate_loss

MAGNITUDES, CHANCES = np.array([0.5, 1.0, 2.0]), np.array([0.5, 0.3, 0.2])
"""The values of an active feature in random instances, and their probabilities."""
SECOND_MOMENT = float(CHANCES @ MAGNITUDES**2)
ONE = np.ones(1)
SPARSE = (1e-3, 1e-4)
"""The two 1 - S between which rates are measured."""


class States(NamedTuple):
    """A distribution of n features over finitely many states."""

    x: np.ndarray
    """S x n: the features' values in each state."""
    chance: np.ndarray
    """S probabilities."""


def independent(n: int, q: float, magnitudes: np.ndarray = MAGNITUDES, chances: np.ndarray = CHANCES) -> States:
    """Return n independent features, each active with chance q = 1 - S (Assumptions 2.3 and 2.4)."""
    values, weights = np.r_[0.0, magnitudes], np.r_[1 - q, q * chances]
    index = np.indices((len(values),) * n).reshape(n, -1)
    return States(values[index].T, weights[index].prod(axis=0))


def hierarchy(children: int, q: float) -> States:
    """Return a parent and its children (Definition 3.9), of magnitude 1. The parent is active whenever a child is."""
    below = independent(children, q, ONE, ONE)
    return States(np.column_stack([below.x.max(axis=1), below.x]), below.chance)


def together(n: int, p: float) -> States:
    """Return n features of magnitude 1 that are active together with chance p, and never otherwise."""
    return States(np.array([np.zeros(n), np.ones(n)]), np.array([1 - p, p]))


def exclusive(n: int, p: float) -> States:
    """Return n features of magnitude 1, each active with chance p <= 1/n, and never two at once."""
    return States(np.vstack([np.zeros(n), np.eye(n)]), np.r_[1 - n * p, np.full(n, p)])


def single_weights(states: States, literal: bool = False) -> np.ndarray:
    """Return M_d = Pr(x = x_d e_d, x_d > 0) E[x_d^2 | x_d > 0] (n); ``literal`` counts x = 0 too, as eq. (11) reads."""
    active = states.x > 0
    number = active.sum(axis=1, keepdims=True)
    alone = active & (number == 1)
    if literal:
        alone = alone | (number == 0)
    chance = states.chance @ active
    second = states.chance @ np.square(states.x) / np.where(chance > 0, chance, 1.0)
    return (states.chance @ alone) * second


def state_errors(weights: Weights, problem: Problem, states: States) -> np.ndarray:
    """Return || W_r x - W_D sigma(W_E W_p x) ||^2 of each state (S)."""
    z_QS = activate(weights.W_enc @ problem.W_p @ states.x.T, problem)
    return np.square(problem.W_r @ states.x.T - weights.W_dec.T @ z_QS).sum(axis=0)


class Losses(NamedTuple):
    """Both losses of Theorem 3.1."""

    exact: float
    """L (eq. 3)."""
    approximate: float
    """L~ (eq. 11)."""
    single: float
    """The part of L from states with one active feature, whose magnitude is inside sigma."""
    several: float
    """The part of L from states with two or more active features."""

    @property
    def difference(self) -> float:
        """L - L~, without the cancellation of two nearly equal numbers."""
        return (self.single - self.approximate) + self.several


def losses(weights: Weights, problem: Problem, states: States, literal: bool = False) -> Losses:
    """Return the losses of a dictionary. M is computed from the states; ``problem.M`` is not used."""
    error = state_errors(weights, problem, states)
    number = (states.x > 0).sum(axis=1)
    M = single_weights(states, literal)
    approximate = approximate_loss(weights, Problem(problem.W_p, problem.W_r, M, problem.threshold, problem.k))
    parts = [float(states.chance[chosen] @ error[chosen]) for chosen in (number == 1, number > 1)]
    return Losses(sum(parts), approximate, *parts)


def at_sparse(
    weights: Weights, problem: Problem, states: Callable[[int, float], States] = independent, literal: bool = False
) -> tuple[Losses, Losses]:
    """Return the losses at both 1 - S of `SPARSE`."""
    first, second = (losses(weights, problem, states(problem.n, q), literal) for q in SPARSE)
    return first, second


def rate(larger: float, smaller: float) -> float:
    """Return the exponent r of a quantity that is proportional to (1 - S)^r, from its two values at `SPARSE`."""
    return float(np.log(abs(larger / smaller)) / np.log(SPARSE[0] / SPARSE[1]))


def several_chance(n: int, q: float) -> float:
    """Return the probability that two or more of n independent features are active."""
    return float(scipy.stats.binom.sf(1, n, q))


def pair_constant(weights: Weights, problem: Problem) -> float:
    """Return the limit of (L - L~) / (1 - S)^2 for S to 1: the sum of the expected errors of all pairs of features."""
    states = independent(problem.n, 0.5)
    pairs = (states.x > 0).sum(axis=1) == 2
    return float(2**problem.n * states.chance[pairs] @ state_errors(weights, problem, states)[pairs])


def error_norm(weights: Weights, problem: Problem) -> float:
    """Return |W_r| + |W_D| |W_E W_p| (spectral norms). If |sigma(z)| <= |z|, no error exceeds this times |x|."""
    norms = [np.linalg.norm(part, 2) for part in (problem.W_r, weights.W_dec, weights.W_enc @ problem.W_p)]
    return float(norms[0] + norms[1] * norms[2])
