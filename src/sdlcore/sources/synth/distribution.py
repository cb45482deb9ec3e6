"""The distribution of features with uneven frequencies and correlations, and the families of nested features
(SynthSAEBench)."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from sdlcore.sources.synth.settings import SynthSource

LEAST_OWN = 0.01
"""Smallest share of a feature's variance that does not come from shared factors."""


class Distribution(NamedTuple):
    """The distribution of a bench's samples, drawn once. Each array has an entry for each of the n features."""

    frequencies: np.ndarray
    """Intended probability of being active, by Zipf's law."""
    candidacy: np.ndarray
    """Probability of being a candidate, before parents and siblings rule out candidates."""
    factors: np.ndarray
    """n x rank weights on shared factors, float32."""
    means: np.ndarray
    """Mean magnitudes, float32."""
    deviations: np.ndarray
    """Standard deviations of magnitudes, float32."""
    bias: np.ndarray
    """Vector added to every sample (n_p, float32)."""


def draw_distribution(source: SynthSource, rng: np.random.Generator) -> Distribution:
    """Draw the distribution of a bench's samples."""
    target_frequencies = frequencies(source)
    factors = source.correlation * rng.standard_normal((source.n, source.rank))
    # every feature keeps a share of independent variance
    factors /= np.maximum(1, np.linalg.norm(factors, axis=1, keepdims=True) / np.sqrt(1 - LEAST_OWN))
    deviations = np.abs(rng.normal(source.deviation, source.deviation_spread, source.n))
    bias = rng.standard_normal(source.n_p)
    return Distribution(
        target_frequencies,
        candidacy(target_frequencies, source),
        factors.astype(np.float32),
        np.linspace(source.first_magnitude, source.last_magnitude, source.n, dtype=np.float32),
        deviations.astype(np.float32),
        (source.bias * bias / np.linalg.norm(bias)).astype(np.float32),
    )


def frequencies(source: SynthSource) -> np.ndarray:
    """Return the intended probability of each feature: a power law, rescaled to end at the two bounds."""
    powers = np.arange(1, source.n + 1) ** -source.exponent
    # with exponent 0 all features have the larger bound
    share = (powers - powers[-1]) / (powers[0] - powers[-1]) if powers[0] > powers[-1] else np.ones(source.n)
    return np.asarray(source.min_frequency + (source.max_frequency - source.min_frequency) * share)


def candidacy(target_frequencies: np.ndarray, source: SynthSource) -> np.ndarray:
    """Return the probability (at most 1) of being a candidate that makes features active about as often as intended.

    A child is active only if its parent is, so its frequency is divided by its parent's. If k siblings are candidates,
    each is chosen with probability 1/k, which is approximated by a factor of 1 plus the expected number of other
    candidates. Both corrections are SynthSAEBench's. The second correction is rough, and neither helps if siblings
    together are intended to be more frequent than their parent. So nested features are rarer than intended.
    """
    probabilities = target_frequencies.copy()
    for above, below in zip(source.levels, source.levels[1:], strict=False):
        share = target_frequencies[below].reshape(len(above), source.branching) / target_frequencies[above][:, None]
        probabilities[below] = (share * (1 + share.sum(axis=1, keepdims=True) - share)).ravel()
    return np.minimum(probabilities, 1)


class Family(NamedTuple):
    """Features that can be active only together with their parent."""

    parent: int | None
    """The parent; None for siblings without one, which exclude each other."""
    members: tuple[int, ...]
    """The siblings."""
    exclusive: bool
    """Whether at most one of the siblings is active. Among several candidates, chance decides."""
    scaled: bool
    """Whether magnitudes are multiplied by the parent's magnitude, divided by the parent's mean."""


def families(source: SynthSource) -> Iterator[Family]:
    """Yield the families of a source's trees: features of a generation have consecutive children in the next."""
    for above, below in zip(source.levels, source.levels[1:], strict=False):
        for place, parent in enumerate(above):
            first = below.start + place * source.branching
            yield Family(parent, tuple(range(first, first + source.branching)), True, source.version == 2)


def scaled_parents(nested: Iterable[Family]) -> set[int]:
    """Return the features that scale others; their mean magnitudes must not be zero."""
    return {family.parent for family in nested if family.scaled and family.parent is not None}
