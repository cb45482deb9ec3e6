"""Draw a bench's samples: sparse coefficients and their representations (Appendix C.2 and C.3)."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array

from sdlcore.random_streams import stream
from sdlcore.sources.bench.settings import BenchSamples, Hierarchy, zipf_probabilities

ROWS_AT_ONCE = 8192


class Groups(NamedTuple):
    """Groups of features whose activity is positively correlated.

    Consecutive features form a group of ``size``; the last group may be smaller.
    """

    size: int
    """Number of features in a group."""
    correlation: float
    """Correlation of the activity of two features in a group, as a share (0 to 1) of the largest correlation that their
    probabilities allow. The largest is 1 if both probabilities are equal."""

    def couple(self, u: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Correlate uniform numbers within groups. Feature i is active if its number is below its probability p_i.

        In every sample a group draws one shared number. Each feature independently replaces its own number by the
        shared number with probability sqrt(correlation). So every number stays uniform, and two features of a group
        have cov(a_i, a_j) = correlation (min(p_i, p_j) - p_i p_j). The factor in brackets is the largest possible
        covariance (Frechet's bound).

        Parameters
        ----------
        u
            N x n independent numbers, uniform in [0, 1).
        rng
            Generator of the groups' numbers and of the choice of features that take them.
        """
        n_samples, n = u.shape
        shared = rng.random((n_samples, -(-n // self.size)))
        takes = rng.random((n_samples, n)) < np.sqrt(self.correlation)
        return np.where(takes, np.repeat(shared, self.size, axis=1)[:, :n], u)


def coefficients(
    n_samples: int,
    n: int,
    sparsity: float,
    rng: np.random.Generator,
    c_min: float = 0.0,
    beta: float = 1.0,
    hierarchy: Hierarchy | None = None,
    frequency_exponent: float = 0.0,
    groups: Groups | None = None,
    groups_rng: np.random.Generator | None = None,
) -> csr_array:
    """Draw ground-truth features x (eq. 29-30).

    Each of the n features is active in each sample with probability 1 - S, independently. The magnitude of an active
    feature is c_min + Exp(beta), where beta is the scale (the mean).

    With a ``frequency_exponent``, the probability of a feature falls with this power of its rank; the mean stays 1 - S.
    With ``groups``, which use a separate stream, the activity of features in a group is correlated. Magnitudes stay
    independent.

    With a ``hierarchy`` of C children, a parent is active if one of its children is, so with probability 1 - S^C. The
    parent's magnitude is drawn like any other magnitude. If it were a function of its children's magnitudes, the
    parent's direction would only be a part of theirs. The activity of other features does not depend on the hierarchy.
    Ranks and groups are counted without the parents, from the first child on.

    Returns
    -------
    n_samples x n sparse matrix, float32. The stored entries of the result are the active features.

    Raises
    ------
    ValueError
        If the hierarchy has more than n features, a probability would exceed 1, or ``groups`` are given without
        ``groups_rng``.
    """
    if hierarchy is not None and hierarchy.size > n:
        raise ValueError(f"{hierarchy} has {hierarchy.size} features, but n is {n}")
    parents = 0 if hierarchy is None else hierarchy.parents
    u = rng.random((n_samples, n))
    if groups is not None:
        if groups_rng is None:
            raise ValueError("groups of features need groups_rng, a separate random generator")
        u[:, parents:] = groups.couple(u[:, parents:], groups_rng)
    p = np.full(n, 1 - sparsity)
    if frequency_exponent:
        # a feature's rank is its index
        p[parents:] = zipf_probabilities(n - parents, 1 - sparsity, frequency_exponent)
    active = u < p
    if hierarchy is not None:
        families = active[:, hierarchy.parents : hierarchy.size].reshape(-1, hierarchy.parents, hierarchy.children)
        active[:, : hierarchy.parents] = families.any(axis=2)
    rows, columns = np.nonzero(active)
    magnitudes = (c_min + rng.exponential(beta, len(rows))).astype(np.float32)
    return csr_array((magnitudes, (rows, columns)), shape=(n_samples, n))


def synthesise(x: csr_array, W: np.ndarray) -> np.ndarray:
    """Compute the representations W x of samples (eq. 31).

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


def noise_deviation(noise: float, n: int, dimension: int, sparsity: float, c_min: float, beta: float) -> float:
    """Return the standard deviation of the noise in each coordinate.

    This standard deviation is ``noise`` times the root mean square of a coordinate without noise. This is computed for
    orthogonal features and without the additional activity of parents: E x_i^2 = (1 - S) (c_min^2 + 2 c_min beta + 2
    beta^2), over n features and ``dimension`` coordinates. So the noise makes up noise^2 / (1 + noise^2) of a sample's
    energy, and the true features leave this share unexplained.
    """
    energy = n * (1 - sparsity) * (c_min**2 + 2 * c_min * beta + 2 * beta**2)
    return float(noise * np.sqrt(energy / dimension))


def noisy(x: np.ndarray, deviation: float, rng: np.random.Generator) -> np.ndarray:
    """Add Gaussian noise to each coordinate of representations (N x dimension, float32)."""
    return x + np.float32(deviation) * rng.standard_normal(x.shape, dtype=np.float32)


class Samples(NamedTuple):
    """Samples of a bench."""

    input: np.ndarray
    """N x n_p, float32."""
    target: np.ndarray | None
    """N x n_r, float32; None if the bench has only one representation."""
    features: csr_array
    """N x n coefficients."""


def draw_samples(
    bench: BenchSamples, W_p: np.ndarray, W_r: np.ndarray | None, seed: int, part: str, rows: int
) -> Iterator[Samples]:
    """Draw samples in blocks of `ROWS_AT_ONCE` (Appendix C.2 and C.3); the same seed and part always draw the same
    samples.

    Parameters
    ----------
    bench
        Settings; their numbers of samples are ignored.
    W_p, W_r
        n_p x n and n_r x n feature matrices.
    seed, part
        Seed and name of the random streams; the pipeline uses the parts ``train`` and ``test``.
    rows
        Number of samples, N.
    """
    groups = Groups(bench.group_size, bench.correlation) if bench.correlation else None
    n, sparsity, c_min, beta = W_p.shape[1], bench.sparsity, bench.c_min, bench.beta

    def represent(x: csr_array, W: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        activations = synthesise(x, W)
        deviation = noise_deviation(bench.noise, n, len(W), sparsity, c_min, beta)
        return noisy(activations, deviation, rng) if deviation else activations

    # separate streams, so that the draws from one do not depend on whether another is used
    rng, groups_rng = stream(seed, "samples", part), stream(seed, "samples", part, "groups")
    noise_p, noise_r = (stream(seed, "samples", part, "noise", side) for side in ("input", "target"))
    for start in range(0, rows, ROWS_AT_ONCE):
        size = min(ROWS_AT_ONCE, rows - start)
        skewed = (bench.hierarchy, bench.frequency_exponent, groups, groups_rng)
        x = coefficients(size, n, sparsity, rng, c_min, beta, *skewed)
        target = None if W_r is None else represent(x, W_r, noise_r)
        yield Samples(represent(x, W_p, noise_p), target, x)
