"""The approximate loss of small problems, and a search for its least value with a certificate.

The approximate loss L~ (eq. 11 of arXiv 2512.05534) is the loss on samples with a single active feature. All
computations are in float64. Features are columns, as in the paper: W_p is n_p x n and W_r is n_r x n. Weights are
stored by latent, as in models: W_enc is n_q x n_p and W_dec is n_q x n_r (the paper's W_D transposed).
"""

import heapq
import itertools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

_ROUNDING = 1e-9


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


class Certificate(NamedTuple):
    """The result of a search: bounds of the least loss, and a dictionary that attains the upper bound."""

    lower: float
    """Lower bound: no dictionary with n_q latents loses less."""
    upper: float
    """Upper bound: the loss of `codes` and `W_dec`."""
    codes: np.ndarray
    """n_q x n, non-negative."""
    W_dec: np.ndarray
    """n_q x n_r."""
    nodes: int
    """Number of nodes of the search tree that were bounded."""

    @property
    def gap(self) -> float:
        """Difference of the bounds."""
        return self.upper - self.lower


def certify_top_1(problem: Problem, n_q: int, most_nodes: int = 100_000) -> Certificate:
    """Find the least L~ if each feature activates at most one latent, with a lower bound that proves it.

    Branching: assign a latent, or none, to one feature after the other. Bound of a node: let G be the sum of
    M_d w_r^d w_r^d^T over the features of a latent. They lose at least trace(G) minus the largest eigenvalue of G,
    whichever features join them later. Features without a latent lose everything. A leaf's bound is attained if the
    eigenvector of that eigenvalue has positive products with all members of its latent. Otherwise some member is better
    left without a latent, which is another leaf.
    The least bound of the open nodes is a lower bound at any time, so stopping at ``most_nodes`` may leave a gap, but
    no wrong bound.
    """
    order = np.argsort(-problem.M * np.square(problem.W_r).sum(axis=0))
    W = (problem.W_r * np.sqrt(problem.M))[:, order]
    total, counter = np.square(W).sum(axis=0), itertools.count()
    losses: dict[tuple[int, ...], tuple[float, bool]] = {(): (0.0, True)}

    def group(members: tuple[int, ...]) -> tuple[float, bool]:
        """Return the least loss of a latent's features, and whether a latent attains it."""
        if members not in losses:
            part = W[:, members]
            values, vectors = np.linalg.eigh(part.T @ part)
            top = vectors[:, -1] * np.sign(vectors[:, -1].sum())
            losses[members] = float(total[list(members)].sum() - values[-1]), bool((top > 1e-12).all())
        return losses[members]

    best, best_labels = float(total.sum()), (-1,) * problem.n
    heap: list[tuple[float, int, tuple[int, ...]]] = [(0.0, next(counter), ())]
    nodes = 0
    while heap and heap[0][0] < best - _ROUNDING and nodes < most_nodes:
        _, _, labels = heapq.heappop(heap)
        # latents without features are interchangeable, so only the first of them is tried
        for label in range(-1, min(max(labels, default=-1) + 2, n_q)):
            nodes += 1
            longer = (*labels, label)
            groups = [group(tuple(d for d, latent in enumerate(longer) if latent == i)) for i in range(n_q)]
            bound = sum(lost for lost, _ in groups) + sum(
                float(total[d]) for d, latent in enumerate(longer) if latent == -1
            )
            if len(longer) < problem.n:
                if bound < best - _ROUNDING:
                    heapq.heappush(heap, (bound, next(counter), longer))
            elif bound < best and all(attained for _, attained in groups):
                best, best_labels = bound, longer
    codes, columns = np.zeros((n_q, problem.n)), np.zeros((n_q, len(W)))
    for i in set(best_labels) - {-1}:
        members = np.flatnonzero(np.array(best_labels) == i)
        columns[i] = np.linalg.svd(W[:, members])[0][:, 0]
        columns[i] *= np.sign((columns[i] @ W[:, members]).sum())
        codes[i, order[members]] = columns[i] @ problem.W_r[:, order[members]]
    return Certificate(min(best, heap[0][0] if heap else best), best, codes, columns, nodes)
