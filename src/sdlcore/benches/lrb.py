"""The Linear Representation Bench (Appendix C): features with bounded interference, sparse samples, and anchors."""

from collections.abc import Iterator
from typing import Any, NamedTuple, Self

import numpy as np
import scipy.sparse
from scipy.sparse import csr_array

from sdlcore.benches.config import (
    BenchFeatures,
    BenchSamples,
    BenchSource,
    zipf_probabilities,
)
from sdlcore.benches.known_features import KnownFeatures, Part, Samples
from sdlcore.random_streams import stream, torch_stream
from sdlcore.settings import Seed, Total, checked

# the paper does not give the margin and the weight of the second term in eq. (27); these values reach M = .05 at n =
# 1000, n_p = 768
MARGIN = 0.1
"""epsilon of eq. (27) as a share of M."""
NEGATIVE_INTERFERENCE = 1e-4
"""lambda of eq. (27)."""
STEP, MOST_STEPS = 0.1, 1000
"""Step size eta of projected gradient descent (eq. 28), and the number of steps after which drawing fails."""


ROWS_AT_ONCE = 8192
STANDARD: dict[str, dict[str, Any]] = {
    # an eighth of the paper's size, as in config/config.yaml
    "lrb-s": {"n": 128, "n_p": 96, "sparsity": 0.97, "max_interference": 0.2, "train_samples": 20_000},
    # Table 3 of the paper
    "lrb-m": {"n": 1000, "n_p": 768, "sparsity": 0.99, "max_interference": 0.1, "train_samples": 100_000},
    # four times as large, with the same number of active features per sample
    "lrb-l": {"n": 4096, "n_p": 3072, "sparsity": 0.9975, "max_interference": 0.1, "train_samples": 400_000},
}
"""Settings of the standard benches by name. They never change, so scores can be compared. ``n_r`` equals ``n_p``, which
gives transcoders and crosscoders a second representation."""
SEED = 20251205
"""Seed of every standard bench."""
TEST_SAMPLES = 10_000


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
    ValueError
        If the bound on interference is not reached (`feature_matrix`).
    """
    drawn = {}
    for name, dimension in (("W_p", bench.n_p), ("W_r", bench.n_r)):
        if dimension is not None:
            start = leaked_start(dimension, bench.n, seed) if bench.seed_leak else None
            drawn[name] = feature_matrix(
                dimension, bench.n, stream(seed, "feature matrix", name), bench.max_interference, start
            )
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
    dimension: int, n: int, rng: np.random.Generator, max_interference: float = 0.1, start: np.ndarray | None = None
) -> FeatureMatrix:
    """Draw n unit vectors and push them apart until their inner products are at most M (eq. 26-28).

    Parameters
    ----------
    dimension
        n_p (or n_r).
    n
        Number of features.
    rng
        Generator of the Gaussian start.
    max_interference
        M.
    start
        Start (dimension x n) instead of the Gaussian one.

    Raises
    ------
    ValueError
        If M is not reached in `MOST_STEPS`, with the largest inner product that remained.
    """
    W = rng.standard_normal((dimension, n)) if start is None else start.copy()
    W /= np.linalg.norm(W, axis=0)
    for iteration in range(MOST_STEPS + 1):
        # the bound is checked on float32, since float32 is returned
        rounded = W.astype(np.float32)
        gram = (rounded.T @ rounded).astype(np.float64)
        np.fill_diagonal(gram, 0.0)
        signed = float(gram[~np.eye(n, dtype=bool)].max())
        if signed <= max_interference:
            return FeatureMatrix(rounded, signed, float(np.abs(gram).max()), iteration)
        W -= STEP * _interference_gradient(W, gram, max_interference)
        W /= np.linalg.norm(W, axis=0)
    raise ValueError(
        f"max_interference {max_interference} was not reached for {n} features in {dimension} dimensions after "
        f"{MOST_STEPS} steps: the largest inner product is {signed:.4f}; raise max_interference or lower n"
    )


def _interference_gradient(W: np.ndarray, gram: np.ndarray, max_interference: float) -> np.ndarray:
    """Return the gradient of the soft-thresholded interference loss (eq. 27), which counts every pair twice."""
    slope = np.maximum(0, gram - max_interference * (1 - MARGIN)) + NEGATIVE_INTERFERENCE * np.maximum(0, gram)
    return 4 * (W @ slope)


def couple(u: np.ndarray, size: int, correlation: float, rng: np.random.Generator) -> np.ndarray:
    """Correlate uniform numbers within groups of consecutive features. Feature i is active if its number is below p_i.

    In every sample a group draws one shared number. Each feature independently replaces its own number by the shared
    number with probability sqrt(correlation). So every number stays uniform, and two features of a group have
    cov(a_i, a_j) = correlation (min(p_i, p_j) - p_i p_j). The factor in brackets is the largest possible covariance
    (Frechet's bound).

    Parameters
    ----------
    u
        N x n independent numbers, uniform in [0, 1).
    size
        Number of features in a group; the last group may be smaller.
    correlation
        Correlation of the activity of two features in a group, as a share (0 to 1) of the largest correlation that
        their probabilities allow. The largest is 1 if both probabilities are equal.
    rng
        Generator of the groups' numbers and of the choice of features that take them.
    """
    n_samples, n = u.shape
    shared = rng.random((n_samples, -(-n // size)))
    takes = rng.random((n_samples, n)) < np.sqrt(correlation)
    return np.where(takes, np.repeat(shared, size, axis=1)[:, :n], u)


def coefficients(
    n_samples: int, n: int, bench: BenchSamples, rng: np.random.Generator, groups_rng: np.random.Generator | None = None
) -> csr_array:
    """Draw ground-truth features x (eq. 29-30).

    Each of the n features is active in each sample with probability 1 - S, independently. The magnitude of an active
    feature is c_min + Exp(beta), where beta is the scale (the mean).

    With a ``frequency_exponent``, the probability of a feature falls with this power of its rank; the mean stays 1 - S.
    With a ``correlation``, the activity of features in a group is correlated (`couple`), by draws from ``groups_rng``.
    Magnitudes stay independent.

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
        If a probability would exceed 1.
    """
    hierarchy = bench.hierarchy
    parents = 0 if hierarchy is None else hierarchy.parents
    u = rng.random((n_samples, n))
    if bench.correlation:
        assert groups_rng is not None, "groups need a generator of their own"
        u[:, parents:] = couple(u[:, parents:], bench.group_size, bench.correlation, groups_rng)
    p = np.full(n, 1 - bench.sparsity)
    if bench.frequency_exponent:
        # a feature's rank is its index
        p[parents:] = zipf_probabilities(n - parents, 1 - bench.sparsity, bench.frequency_exponent)
    active = u < p
    if hierarchy is not None:
        families = active[:, hierarchy.parents : hierarchy.size].reshape(-1, hierarchy.parents, hierarchy.children)
        active[:, : hierarchy.parents] = families.any(axis=2)
    rows, columns = np.nonzero(active)
    magnitudes = (bench.c_min + rng.exponential(bench.beta, len(rows))).astype(np.float32)
    return csr_array((magnitudes, (rows, columns)), shape=(n_samples, n))


def synthesise(x: csr_array, W: np.ndarray) -> np.ndarray:
    """Compute the representations W x of samples (eq. 31; N x dimension, float32) from x (N x n), W (dimension x n)."""
    return np.asarray(x @ W.T, dtype=np.float32)


def noisy(x: np.ndarray, n: int, bench: BenchSamples, rng: np.random.Generator) -> np.ndarray:
    """Add Gaussian noise to each coordinate of representations (N x dimension, float32) of n features.

    The standard deviation is ``noise`` times the root mean square of a coordinate without noise. This is computed for
    orthogonal features and without the additional activity of parents: E x_i^2 = (1 - S) (c_min^2 + 2 c_min beta + 2
    beta^2), over n features and all coordinates. So the noise makes up noise^2 / (1 + noise^2) of a sample's energy,
    and the true features leave this share unexplained.
    """
    energy = n * (1 - bench.sparsity) * (bench.c_min**2 + 2 * bench.c_min * bench.beta + 2 * bench.beta**2)
    deviation = float(bench.noise * np.sqrt(energy / x.shape[1]))
    return x + np.float32(deviation) * rng.standard_normal(x.shape, dtype=np.float32) if deviation else x


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
    n = W_p.shape[1]
    # separate streams: groups do not change the other random numbers
    rng, groups_rng = stream(seed, "samples", part), stream(seed, "samples", part, "groups")
    noise_p, noise_r = (stream(seed, "samples", part, "noise", side) for side in ("input", "target"))
    for start in range(0, rows, ROWS_AT_ONCE):
        x = coefficients(min(ROWS_AT_ONCE, rows - start), n, bench, rng, groups_rng)
        target = None if W_r is None else noisy(synthesise(x, W_r), n, bench, noise_r)
        yield Samples(noisy(synthesise(x, W_p), n, bench, noise_p), target, x)


class Bench(KnownFeatures):
    """Synthetic data with known true features (Appendix C of arXiv 2512.05534).

    There are n unit features, and the inner product of any two is at most M. Each feature is active in a share 1 - S of
    the samples.

    Parameters
    ----------
    settings, seed
        Settings and seed of features and samples.
    W_p, W_r
        n_p x n and n_r x n features; ``W_r`` is None if there is only one representation.
    """

    def __init__(self, settings: BenchSource, seed: int, W_p: np.ndarray, W_r: np.ndarray | None = None) -> None:
        self.settings: BenchSource = settings
        self.seed, self.W_p, self.W_r, self.hierarchy = seed, W_p, W_r, settings.hierarchy

    @classmethod
    def draw(cls, *, seed: int = 0, **settings: Any) -> Self:
        """Draw the features of a bench. The pipeline draws the same features for the same settings and seed.

        Parameters
        ----------
        seed
            Seed of features and samples.
        **settings
            Settings of a bench: ``n``, ``n_p``, ``n_r``, ``sparsity``, ``max_interference``, ...

        Raises
        ------
        ValueError
            If a setting is unknown or out of range, or ``max_interference`` cannot be reached.
        """
        source, seed = BenchSource.from_dict(settings), checked("seed", Seed, seed)
        for key, problem in source.inconsistencies():
            raise ValueError(f"{key}: {problem}")
        matrices = draw_matrices(source, seed)
        return cls(source, seed, matrices["W_p"].W, matrices["W_r"].W if "W_r" in matrices else None)

    def samples(self, n_samples: int, part: Part = "train") -> Samples:
        """Return samples with their coefficients: ``input``, ``target`` and ``features``.

        Parameters
        ----------
        n_samples
            Number of samples.
        part
            ``train``, or ``test`` for the samples that `evaluate` uses. Calls with the same ``part`` and ``n_samples``
            return the same samples; another number gives other ones.

        Raises
        ------
        ValueError
            If the part is unknown, or ``n_samples`` is below 1.
        """
        checked("part", Part, part)
        checked("n_samples", Total, n_samples)
        blocks = list(draw_samples(self.settings, self.W_p, self.W_r, self.seed, part, n_samples))
        target = None if self.W_r is None else np.concatenate([block.target for block in blocks])
        features = scipy.sparse.vstack([block.features for block in blocks], format="csr")
        return Samples(np.concatenate([block.input for block in blocks]), target, features)

    def __repr__(self) -> str:
        """Return the main settings on one line."""
        s = self.settings
        second = f", n_r={s.n_r}" if s.n_r else ""
        settings = f"n={s.n}, n_p={s.n_p}{second}, sparsity={s.sparsity:g}, max_interference={s.max_interference:g}"
        return f"Bench({settings}, seed={self.seed})"


def standard_bench(name: str) -> Bench:
    """Draw a standard bench by name.

    ``lrb-s`` has 128 features in 96 dimensions (S = .97, M = .2), ``lrb-m`` 1000 in 768 (the paper's: S = .99, M = .1),
    ``lrb-l`` 4096 in 3072 (S = .9975, M = .1). All standard benches have a second representation with the same
    dimension.

    Drawing takes a second (``lrb-l`` half a minute), nothing is stored, and the result is the same to the bit every
    time. ``x, target = bench.sample()`` returns the training samples. Train an autoencoder with ``fit(x)``, since `fit`
    trains a crosscoder on a pair. `evaluate` draws its own samples.

    Raises
    ------
    ValueError
        If the name is unknown.
    """
    if name not in STANDARD:
        raise ValueError(f"no standard bench {name}; expected one of {', '.join(STANDARD)}")
    settings = STANDARD[name]
    return Bench.draw(seed=SEED, n_r=settings["n_p"], test_samples=TEST_SAMPLES, **settings)
