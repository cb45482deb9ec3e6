"""Theory of dictionaries: certificates for small problems, and the law of encoder rows.

The approximate loss L~ (eq. 11 of arXiv 2512.05534) is the loss on samples with a single active feature. All
computations are in float64. Features are columns, as in the paper: W_p is n_p x n and W_r is n_r x n. Weights are
stored by latent, as in models: W_enc is n_q x n_p and W_dec is n_q x n_r (the paper's W_D transposed).

The law of encoder rows
-----------------------
The encoder row that reads a feature best is not the feature itself, unless weights are tied. The cosine of this row
with the feature depends only on the numbers of features and dimensions, and on noise.

Assumptions
-----------
A sample is y = W x + noise. The n features w_d (columns of W, n_p x n) are unit vectors of random directions; n and
n_p are large. The x_d are uncorrelated and of equal variance v. Noise is white; its variance, as a share of the mean
variance of a coordinate of W x, is t. As W W^T has the mean eigenvalue n / n_p, the noise has the variance v s with
s = t n / n_p. A ridge on the covariance has the same effect as noise of that share.

Derivation
----------
1. The least-squares read-out of x_d is r = (W W^T + s I)^-1 w_d: the inverse of the covariance of y, times the
   covariance of y and x_d.
2. Leave the feature out. With R = (sum over i != d of w_i w_i^T + s I)^-1, the formula of Sherman and Morrison gives
   r = R w_d / (1 + q), q = w_d^T R w_d. So r is parallel to R w_d, and R does not depend on w_d. This step is exact.
3. Hence cos(r, w_d)^2 = (w_d^T R w_d)^2 / (w_d^T R^2 w_d). As w_d is independent of R, both products are nearly traces:
   (tr R / n_p)^2 / (tr R^2 / n_p).
4. Eigenvalues of (n_p / n) W W^T have the distribution of Marchenko and Pastur (1967) with ratio g = n_p / n. Its
   Stieltjes transform m(z) solves g z m^2 - (1 - g - z) m + 1 = 0. Scale drops out of the cosine, so that it is
   m(-t)^2 / m'(-t).
5. With D = (1 - g + t)^2 + 4 g t the positive root is m = (sqrt(D) - (1 - g + t)) / (2 g t), and implicit
   differentiation gives m' = m (1 + g m) / sqrt(D). So cos^2 = m sqrt(D) / (1 + g m).
6. Without noise m = 1 / (1 - g) and m' = 1 / (1 - g)^3 for n > n_p: **cos^2 = 1 - n_p / n**. For n <= n_p the row is
   the component of w_d outside the span of the others, and cos^2 = 1 - n / n_p.

The inner product of r with w_d is q / (1 + q), q = g m(-t): n_p / n without noise. In a sparse code, a row has to be
right only for samples in which its feature is active. In these samples the feature's second moment is 1 / P(active)
times as large, and the others' stay the same. By step 2 this changes the length of r but not its direction: the inner
product becomes q / (q + P(active)), which is nearly 1.

A regression on N samples adds an error to the row, which changes its direction. With the residual variance v / (1 + q),
the error has an expected square of q / (1 + q) n_p / (N - n_p), and |r|^2 = g^2 m' / (1 + q)^2. Their ratio is
n_p sqrt(D) / (g (N - n_p)), without noise n_p (1 - g) / (g (N - n_p)); cos^2 is divided by 1 plus that.

Limits
------
- Near n = n_p the law gives 0. A finite n, a ridge or a little noise leads to a larger cosine.
- For clustered directions the cosine is lower: the law assumes random directions. The paper's bench pushes its
  features apart, which raises the cosine a little.
- Correlated activities and unequal variances hardly matter without noise. With noise they do.
- The law does not apply to a dictionary that misses features, or is not at its least-squares solution.
- Under heavy noise the law holds and the cosine goes to 1, but no method finds the features any longer.
- The law does not apply to tied weights, where each row equals its decoder column.
"""

import heapq
import itertools
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sdlcore.evaluation.recovery import normalise_rows

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


def law(n: float, n_p: float, noise: float = 0.0, samples: float = math.inf) -> float:
    """Return the cosine of a linear read-out with its feature.

    Parameters
    ----------
    n, n_p
        Number of features; dimensions.
    noise
        t: variance of the noise, or ridge, as a share of the mean variance of a coordinate.
    samples
        Number of samples of the regression that computes the read-out.

    Raises
    ------
    ValueError
        If a number is out of range.
    """
    _check(n, n_p, noise)
    if not samples > n_p:
        raise ValueError(f"a regression in {n_p} dimensions needs more samples, found {samples}")
    ratio = n_p / n
    if noise == 0:
        cosine = math.sqrt(1 - min(ratio, 1 / ratio))
        # |error|^2 / |row|^2 of the row, times samples - n_p
        error = n_p * max(1 - ratio, 0.0) / ratio
    else:
        m, root = _stieltjes(ratio, noise)
        cosine = math.sqrt(m * root / (1 + ratio * m))
        error = n_p * root / ratio
    return cosine / math.sqrt(1 + error / (samples - n_p))


def gain(n: float, n_p: float, noise: float = 0.0, active: float = 1.0) -> float:
    """Return the inner product of a read-out with its feature: the code that the feature alone produces.

    Parameters
    ----------
    n, n_p, noise
        See `law`.
    active
        P(active) for a row that is fitted to the samples with its feature active; 1 for a fit to all samples.

    Raises
    ------
    ValueError
        If a number is out of range.
    """
    _check(n, n_p, noise)
    if not 0 < active <= 1:
        raise ValueError(f"active must be above 0 and at most 1, found {active}")
    ratio = n_p / n
    if noise == 0:
        # q = g / (1 - g) for n > n_p, and infinite for n <= n_p
        return ratio / (ratio + active * (1 - ratio)) if ratio < 1 else 1.0
    q = ratio * _stieltjes(ratio, noise)[0]
    return q / (q + active)


def _stieltjes(ratio: float, t: float) -> tuple[float, float]:
    """Return m(-t) and sqrt(D) of the distribution of Marchenko and Pastur with ratio n_p / n, for t > 0."""
    b = 1 - ratio + t
    root = float(np.sqrt(b * b + 4 * ratio * t))
    # two forms of the same root, since one suffers from cancellation for small t
    return (2 / (b + root) if b > 0 else (root - b) / (2 * ratio * t)), root


def _check(n: float, n_p: float, noise: float) -> None:
    if n <= 0 or n_p <= 0 or noise < 0:
        raise ValueError(f"n and n_p must be above 0 and noise at least 0, found {n}, {n_p} and {noise}")


def read_outs(W: np.ndarray, noise: float = 0.0, covariance: np.ndarray | None = None) -> np.ndarray:
    """Return the least-squares read-out of each feature, n x n_p.

    Parameters
    ----------
    W
        n_p x n features.
    noise
        See `law`.
    covariance
        Covariance of the features' magnitudes, n x n; the identity if left out. Noise is a share of its mean variance.

    Returns
    -------
    The rows. Without noise, several read-outs may be least-squares solutions; then the shortest are returned.
    """
    n_p, n = W.shape
    C = np.eye(n) if covariance is None else covariance
    s = noise * np.trace(C) / n_p
    weighted = W @ C
    return np.linalg.lstsq(weighted @ W.T + s * np.eye(n_p), weighted, rcond=None)[0].T


def own_products(rows: np.ndarray, W: np.ndarray) -> np.ndarray:
    """Return the inner product of row d (n x n_p) with feature d (n_p x n), for each d."""
    return np.einsum("dp,pd->d", rows, W)


def own_cosines(rows: np.ndarray, W: np.ndarray) -> np.ndarray:
    """Return the cosine of row d (n x n_p) with unit feature d (n_p x n), for each d; 0 for rows of zeros."""
    return own_products(normalise_rows(rows), W)
