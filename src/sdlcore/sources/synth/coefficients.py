"""Draw coefficients of features that are frequent or rare, correlated, and nested (SynthSAEBench)."""

from typing import NamedTuple

import numpy as np
import scipy.sparse
import scipy.special

from sdlcore.sources.synth.settings import SynthSource

LEAST_OWN = 0.01
"""Share of a feature's variance that factors leave to itself, at least."""


class Distribution(NamedTuple):
    """What a bench draws once, and its samples follow. Arrays are over the n features."""

    frequencies: np.ndarray
    """How often each is to be active: Zipf's distribution."""
    candidacy: np.ndarray
    """How often each is a candidate, before parents and siblings rule candidates out."""
    factors: np.ndarray
    """n x rank weights on shared factors, float32."""
    means: np.ndarray
    """Mean magnitudes, float32."""
    deviations: np.ndarray
    """Standard deviations of magnitudes, float32."""
    bias: np.ndarray
    """n_p numbers that every sample has on top, float32."""


def draw_distribution(source: SynthSource, rng: np.random.Generator) -> Distribution:
    """Return the distribution of a bench's samples."""
    wanted = frequencies(source)
    factors = source.correlation * rng.standard_normal((source.n, source.rank))
    # no feature is made of factors alone
    factors /= np.maximum(1, np.linalg.norm(factors, axis=1, keepdims=True) / np.sqrt(1 - LEAST_OWN))
    deviations = np.abs(rng.normal(source.deviation, source.deviation_spread, source.n))
    bias = rng.standard_normal(source.n_p)
    return Distribution(
        wanted,
        candidacy(wanted, source),
        factors.astype(np.float32),
        np.linspace(source.first_magnitude, source.last_magnitude, source.n, dtype=np.float32),
        deviations.astype(np.float32),
        (source.bias * bias / np.linalg.norm(bias)).astype(np.float32),
    )


def frequencies(source: SynthSource) -> np.ndarray:
    """Return how often each feature is to be active: a power law, stretched to end at the two bounds."""
    powers = np.arange(1, source.n + 1) ** -source.exponent
    # exponent 0 gives all features the larger bound
    share = (powers - powers[-1]) / (powers[0] - powers[-1]) if powers[0] > powers[-1] else np.ones(source.n)
    return np.asarray(source.min_frequency + (source.max_frequency - source.min_frequency) * share)


def candidacy(wanted: np.ndarray, source: SynthSource) -> np.ndarray:
    """Return how often features must be candidates to be active about as often as wanted, at most always.

    A child is active only where its parent is, so its frequency is divided by its parent's; and where k siblings are
    candidates, each has but one chance in k, which counts as a factor of 1 plus the expected number of the others. Both
    corrections are SynthSAEBench's: the second is a rough one, and where siblings want more than their parent has, no
    correction helps. So nested features end up rarer than wanted.
    """
    found = wanted.copy()
    for above, below in zip(source.levels, source.levels[1:], strict=False):
        share = wanted[below].reshape(len(above), source.branching) / wanted[above][:, None]
        found[below] = (share * (1 + share.sum(axis=1, keepdims=True) - share)).ravel()
    return np.minimum(found, 1)


def coefficients(
    n_samples: int, source: SynthSource, distribution: Distribution, rng: np.random.Generator
) -> scipy.sparse.csr_array:
    """Draw coefficients (n_samples x n, float32). Explicit entries are the active features.

    Candidates fire together by a Gaussian copula with the distribution's factors. A candidate whose parent is silent is
    silent, and of several siblings one is taken at random. An active feature has a normal magnitude, cut off at zero; a
    child's is multiplied by its parent's over the parent's mean, generation by generation.
    """
    own = np.sqrt(1 - np.square(distribution.factors).sum(axis=1))
    numbers = rng.standard_normal((n_samples, source.n), dtype=np.float32) * own
    numbers += rng.standard_normal((n_samples, source.rank), dtype=np.float32) @ distribution.factors.T
    rows, columns = np.nonzero(numbers > -scipy.special.ndtri(distribution.candidacy).astype(np.float32))
    x = numbers
    x[:] = 0
    spread = rng.standard_normal(len(rows), dtype=np.float32)
    x[rows, columns] = np.maximum(0, distribution.means[columns] + distribution.deviations[columns] * spread)
    for above, below in zip(source.levels, source.levels[1:], strict=False):
        parents, shape = slice(above.start, above.stop), (n_samples, len(above), source.branching)
        children = x[:, below.start : below.stop].reshape(shape)
        lots = np.where(children > 0, rng.random(shape, dtype=np.float32), -1)
        chosen = lots.argmax(axis=2)[..., None] == np.arange(source.branching)
        children = children * chosen * (x[:, parents] / distribution.means[parents])[..., None]
        x[:, below.start : below.stop] = children.reshape(n_samples, -1)
    return scipy.sparse.csr_array(x)
