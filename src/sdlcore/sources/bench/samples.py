"""Draw a bench's samples: sparse coefficients, and the representations made from them (Appendix C.2 and C.3)."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array

from sdlcore.random_streams import stream
from sdlcore.sources.bench.settings import BenchSamples, Hierarchy, zipf_probabilities

ROWS_AT_ONCE = 8192


class Groups(NamedTuple):
    """Groups of features that are active together more often than chance has it.

    The first features are a group, the next another, and so on; the last may have fewer.
    """

    size: int
    """Features of a group."""
    correlation: float
    """From 0 to 1: the correlation of the activity of two features of a group, as a share of the largest that their
    probabilities allow. That is 1, and this the correlation itself, where both are as probable."""

    def couple(self, u: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return uniform numbers that agree within groups, where feature i is active below its probability p_i.

        A group has a number of its own in every sample, and each of its features takes it with probability
        sqrt(correlation), independently, in the place of its own number. So every number stays uniform, and two
        features of a group have cov(a_i, a_j) = correlation (min(p_i, p_j) - p_i p_j), of which the bracket is the
        largest that there can be (Frechet's bound).

        Parameters
        ----------
        u
            N x n independent numbers, uniform in [0, 1).
        rng
            Where the groups' numbers are drawn from, and who takes them.
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

    Each of the n features of each sample is active with probability 1 - S, independently; an active one has magnitude
    c_min + Exp(beta), beta being the scale (the mean).

    With a ``frequency_exponent`` these probabilities fall with it as a power of a feature's place, their mean being
    1 - S still; with ``groups``, drawn from a stream of their own, features of a group are active together. Magnitudes
    stay independent.

    With a ``hierarchy`` of C children, a parent is active where a child is, so with probability 1 - S^C. Its magnitude
    is drawn like any other's: were it a function of its children's, a parent would be no feature of its own but a part
    of their directions. Which other features are active does not depend on the hierarchy; places and groups are
    counted without the parents, from the first child on.

    Returns
    -------
    n_samples x n matrix, float32. Explicit entries are the active features.

    Raises
    ------
    ValueError
        If the hierarchy has more than n features, a probability would exceed 1, or groups come without a stream.
    """
    if hierarchy is not None and hierarchy.size > n:
        raise ValueError(f"{hierarchy} has {hierarchy.size} features, but n is {n}")
    parents = 0 if hierarchy is None else hierarchy.parents
    u = rng.random((n_samples, n))
    if groups is not None:
        if groups_rng is None:
            raise ValueError("groups of features need groups_rng, a stream of their own")
        u[:, parents:] = groups.couple(u[:, parents:], groups_rng)
    p = np.full(n, 1 - sparsity)
    if frequency_exponent:
        # a feature's place is its index
        p[parents:] = zipf_probabilities(n - parents, 1 - sparsity, frequency_exponent)
    active = u < p
    if hierarchy is not None:
        families = active[:, hierarchy.parents : hierarchy.size].reshape(-1, hierarchy.parents, hierarchy.children)
        active[:, : hierarchy.parents] = families.any(axis=2)
    rows, columns = np.nonzero(active)
    magnitudes = (c_min + rng.exponential(beta, len(rows))).astype(np.float32)
    return csr_array((magnitudes, (rows, columns)), shape=(n_samples, n))


def synthesise(x: csr_array, W: np.ndarray) -> np.ndarray:
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


def noise_deviation(noise: float, n: int, dimension: int, sparsity: float, c_min: float, beta: float) -> float:
    """Return the standard deviation of the noise of a coordinate.

    It is ``noise`` times the root mean square of a coordinate without noise, taking features as orthogonal and leaving
    out what parents add: E x_i^2 = (1 - S) (c_min^2 + 2 c_min beta + 2 beta^2), over n features and ``dimension``
    coordinates. So noise is noise^2 / (1 + noise^2) of a sample's energy, which the true features leave unexplained.
    """
    energy = n * (1 - sparsity) * (c_min**2 + 2 * c_min * beta + 2 * beta**2)
    return float(noise * np.sqrt(energy / dimension))


def noisy(x: np.ndarray, deviation: float, rng: np.random.Generator) -> np.ndarray:
    """Return representations (N x dimension, float32) with Gaussian noise on each coordinate."""
    return x + np.float32(deviation) * rng.standard_normal(x.shape, dtype=np.float32)


class Samples(NamedTuple):
    """Samples of a bench."""

    input: np.ndarray
    """N x n_p, float32."""
    target: np.ndarray | None
    """N x n_r, float32; None where the bench has one representation."""
    features: csr_array
    """N x n coefficients."""


def draw_samples(
    bench: BenchSamples, W_p: np.ndarray, W_r: np.ndarray | None, seed: int, part: str, rows: int
) -> Iterator[Samples]:
    """Yield samples by blocks of `ROWS_AT_ONCE` (Appendix C.2 and C.3); the same ones for the same seed and part.

    Parameters
    ----------
    bench
        Settings; how many samples there are, ``rows`` says.
    W_p, W_r
        n_p x n and n_r x n feature matrices.
    seed, part
        Of the streams: ``train`` and ``test`` are those of the pipeline.
    rows
        N.
    """
    groups = Groups(bench.group_size, bench.correlation) if bench.correlation else None
    n, sparsity, c_min, beta = W_p.shape[1], bench.sparsity, bench.c_min, bench.beta

    def represent(x: csr_array, W: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        made = synthesise(x, W)
        deviation = noise_deviation(bench.noise, n, len(W), sparsity, c_min, beta)
        return noisy(made, deviation, rng) if deviation else made

    # streams of their own, so that what is drawn from one does not depend on whether another is asked
    rng, groups_rng = stream(seed, "samples", part), stream(seed, "samples", part, "groups")
    noise_p, noise_r = (stream(seed, "samples", part, "noise", side) for side in ("input", "target"))
    for start in range(0, rows, ROWS_AT_ONCE):
        size = min(ROWS_AT_ONCE, rows - start)
        skewed = (bench.hierarchy, bench.frequency_exponent, groups, groups_rng)
        x = coefficients(size, n, sparsity, rng, c_min, beta, *skewed)
        target = None if W_r is None else represent(x, W_r, noise_r)
        yield Samples(represent(x, W_p, noise_p), target, x)
