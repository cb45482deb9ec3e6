"""Theorem 3.1: how far the loss of single features (eq. 11) is from the loss (eq. 3), exactly.

Features are random variables with finitely many values, so that expectations are sums over all states: no sampling.
"""

from typing import NamedTuple

import numpy as np
import scipy.stats

from sdlcore.study.theory.biconvexity import bend
from sdlcore.study.theory.landscape import Problem, Weights, activate, approximate_loss

MOST_STATES = 200_000


class States(NamedTuple):
    """A distribution of features."""

    x: np.ndarray
    """S x n: the values that features take together."""
    chance: np.ndarray
    """S, of sum 1."""


def independent(n: int, sparsity: float, magnitudes: np.ndarray, chances: np.ndarray) -> States:
    """Return n independent features, each active with probability 1 - S (Assumptions 2.3 and 2.4).

    Parameters
    ----------
    n, sparsity
        Number of features; S.
    magnitudes, chances
        Positive values of an active feature and their probabilities.

    Raises
    ------
    ValueError
        If there are too many states to sum over.
    """
    values, weights = np.r_[0.0, magnitudes], np.r_[sparsity, (1 - sparsity) * chances]
    if len(values) ** n > MOST_STATES:
        raise ValueError(f"{len(values)}^{n} states are more than {MOST_STATES}; take fewer features or magnitudes")
    index = np.indices((len(values),) * n).reshape(n, -1)
    return States(values[index].T, weights[index].prod(axis=0))


def hierarchy(children: int, sparsity: float) -> States:
    """Return a parent and its children (Definition 3.9), of magnitude 1: the parent is active where a child is."""
    below = independent(children, sparsity, np.ones(1), np.ones(1))
    return States(np.column_stack([below.x.max(axis=1), below.x]), below.chance)


def together(n: int, p: float) -> States:
    """Return n features of magnitude 1 that are active together with chance p, and never otherwise."""
    return States(np.array([np.zeros(n), np.ones(n)]), np.array([1 - p, p]))


def exclusive(n: int, p: float) -> States:
    """Return n features of magnitude 1, each active with chance p <= 1/n and never beside another."""
    return States(np.vstack([np.zeros(n), np.eye(n)]), np.r_[1 - n * p, np.full(n, p)])


def single_weights(states: States, literal: bool = False) -> np.ndarray:
    """Return M_d = Pr(x = x_d e_d, x_d > 0) E[x_d^2 | x_d > 0] (n). ``literal``: so does x = 0, as eq. (11) reads."""
    active = states.x > 0
    number = active.sum(axis=1, keepdims=True)
    alone = active & (number == 1)
    if literal:
        alone = alone | (number == 0)
    chance = states.chance @ active
    second = states.chance @ np.square(states.x) / np.where(chance > 0, chance, 1.0)
    return (states.chance @ alone) * second


class Losses(NamedTuple):
    """Both losses of Theorem 3.1."""

    exact: float
    """Eq. (3)."""
    approximate: float
    """Eq. (11)."""
    single: float
    """The part of eq. (3) with one active feature, its magnitude inside sigma."""
    several: float
    """The part of eq. (3) with two or more active features."""

    @property
    def difference(self) -> float:
        """L - L~, without the cancellation of two nearly equal numbers."""
        return (self.single - self.approximate) + self.several


def losses(weights: Weights, problem: Problem, states: States, literal: bool = False) -> Losses:
    """Return the losses of a dictionary. The M of ``problem`` is not looked at: it follows from the states."""
    error = state_errors(weights, problem, states)
    number = (states.x > 0).sum(axis=1)
    M = single_weights(states, literal)
    approximate = approximate_loss(weights, Problem(problem.W_p, problem.W_r, M, problem.threshold, problem.k))
    parts = [float(states.chance[chosen] @ error[chosen]) for chosen in (number == 1, number > 1)]
    return Losses(sum(parts), approximate, *parts)


def state_errors(weights: Weights, problem: Problem, states: States) -> np.ndarray:
    """Return || W_r x - W_D sigma(W_E W_p x) ||^2 of each state (S)."""
    z_QS = activate(weights.W_enc @ problem.W_p @ states.x.T, problem)
    return np.square(problem.W_r @ states.x.T - weights.W_dec.T @ z_QS).sum(axis=0)


def rate(larger: float, smaller: float, ratio: float) -> float:
    """Return the exponent r of a quantity q^r from its values at two q, the first ``ratio`` times the second."""
    return float(np.log(abs(larger / smaller)) / np.log(ratio))


def pair_constant(weights: Weights, problem: Problem, magnitudes: np.ndarray, chances: np.ndarray) -> float:
    """Return the limit of (L - L~) / (1 - S)^2 as S tends to 1: the sum over pairs of the expected error of a pair."""
    total = 0.0
    for a in range(problem.n):
        for b in range(a):
            x = np.zeros((len(magnitudes) ** 2, problem.n))
            x[:, a], x[:, b] = (part.ravel() for part in np.meshgrid(magnitudes, magnitudes))
            states = States(x, np.outer(chances, chances).ravel())
            total += float(states.chance @ state_errors(weights, problem, states))
    return total


def largest_error(weights: Weights, problem: Problem, magnitude: float) -> float:
    """Return what no squared error exceeds where no feature exceeds ``magnitude``: n magnitude^2 times a squared norm.

    That of `explicit_constant`, since |x|^2 is at most n magnitude^2.
    """
    return problem.n * magnitude**2 * _error_norm(weights, problem) ** 2


def _error_norm(weights: Weights, problem: Problem) -> float:
    norms = [np.linalg.norm(part, 2) for part in (problem.W_r, weights.W_dec, weights.W_enc @ problem.W_p)]
    return float(norms[0] + norms[1] * norms[2])


def explicit_constant(weights: Weights, problem: Problem, second_moment: float) -> float:
    """Return a C with 0 <= L - L~ <= C (1 - S)^2 at every S, for every sigma with sigma(a z) = a sigma(z).

    C = n (n - 1) E[x_d^2 | x_d > 0] (|W_r| + |W_D| |W_E W_p|)^2 with spectral norms: |sigma(z)| <= |z| bounds the error
    by the bracket times |x|^2, and E[|x|^2; two or more active] <= n (n - 1) (1 - S)^2 E[x_d^2 | x_d > 0], since each
    feature has to be active with some other one.
    """
    return problem.n * (problem.n - 1) * second_moment * _error_norm(weights, problem) ** 2


def several_chance(n: int, sparsity: float) -> float:
    """Return the probability that two or more of n independent features are active."""
    return float(scipy.stats.binom.sf(1, n, 1 - sparsity))


def exact_bend(one: Weights, other: Weights, problem: Problem, states: States) -> tuple[float, bool]:
    """Return the `bend` of eq. (3) half way between two dictionaries, and whether no latent changes its activity.

    That is, in any state: there eq. (3) is convex in each block, as Theorem 3.2 has it of single features.
    """
    half = Weights((one.W_enc + other.W_enc) / 2, (one.W_dec + other.W_dec) / 2)
    values, active = [], []
    for weights in (one, other, half):
        values.append(float(states.chance @ state_errors(weights, problem, states)))
        active.append(activate(weights.W_enc @ problem.W_p @ states.x.T, problem) > 0)
    same = bool((active[0] == active[1]).all() and (active[0] == active[2]).all())
    return bend((values[0], values[1]), values[2]), same
