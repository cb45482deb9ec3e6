"""Draw coefficients of features with uneven frequencies, correlations and a hierarchy (SynthSAEBench)."""

from collections.abc import Iterable, Iterator

import numpy as np
import scipy.special
from scipy.sparse import csr_array

from sdlcore.sources.bench.samples import Samples
from sdlcore.sources.synth.distribution import Distribution, Family

ROWS_AT_ONCE = 4096


class Sampler:
    """Draws coefficients of a distribution. Sample i depends only on the distribution, the key and i.

    Candidates are correlated by a Gaussian copula with the distribution's factors. A candidate is silenced if its
    parent is silent, and one of several active siblings that exclude each other is kept at random. Magnitudes are
    normal, clipped at zero. A scaled child's magnitude is multiplied by its parent's magnitude divided by the parent's
    mean, generation by generation.

    Parameters
    ----------
    distribution
        Distribution of candidates and their magnitudes.
    nested
        The hierarchy of features; no feature is in two families.
    rng
        Generator of the key of all samples.
    """

    def __init__(self, distribution: Distribution, nested: Iterable[Family], rng: np.random.Generator) -> None:
        # imported here, since importing numba is slow
        from sdlcore.sources.synth.loops import BLOCK, TOGETHER, Free, Law, Nested

        self._key = rng.integers(2**64, dtype=np.uint64)
        independent_scale = np.sqrt(1 - np.square(distribution.factors, dtype=float).sum(axis=1))
        bounds = (-scipy.special.ndtri(distribution.candidacy) / independent_scale).astype(np.float32)
        self._rank = distribution.factors.shape[1]
        weights = np.pad(
            distribution.factors / independent_scale[:, None], ((0, 0), (0, -self._rank % TOGETHER))
        ).astype(np.float32)
        self._law = Law(bounds, weights, distribution.means, distribution.deviations)
        (n, padded_rank), nested = weights.shape, list(nested)

        alone = np.ones(n, dtype=bool)
        members = np.array([member for family in nested for member in family.members], dtype=np.int64)
        alone[members] = False
        features = np.flatnonzero(alone)
        blocks = -(-len(features) // BLOCK)
        free_bounds = np.full(blocks * BLOCK, np.inf, dtype=np.float32)
        free_bounds[: len(features)] = bounds[features]
        free_weights = np.zeros((padded_rank, blocks * BLOCK), dtype=np.float32)
        free_weights[:, : len(features)] = weights[features].T
        by_block = np.ascontiguousarray(free_weights.reshape(padded_rank, blocks, BLOCK).transpose(1, 0, 2))
        self._free = Free(features, free_bounds.reshape(blocks, BLOCK), by_block)

        parents = np.array([n if family.parent is None else family.parent for family in nested], dtype=np.int64)
        self._nested = Nested(
            np.cumsum([0, *(len(family.members) for family in nested)]),
            members,
            np.array([family.exclusive for family in nested], dtype=bool),
            np.array([family.scaled for family in nested], dtype=bool),
            np.searchsorted(np.sort(parents), np.arange(n + 2)),
            np.argsort(parents, kind="stable"),
        )
        self._capacity = int(4 + 2 * distribution.frequencies.sum())

    def coefficients(self, first: int, n_samples: int) -> csr_array:
        """Return the samples from number ``first`` on (n_samples x n, float32). The stored entries are the active
        features."""
        from sdlcore.sources.synth import loops

        counts = np.empty(n_samples, dtype=np.int64)
        while True:
            shape = n_samples, self._capacity
            columns, values = np.empty(shape, dtype=np.int32), np.empty(shape, dtype=np.float32)
            loops.draw(self._key, first, self._rank, self._law, self._free, self._nested, columns, values, counts)
            most = int(counts.max(initial=0))
            if most <= self._capacity:
                break
            self._capacity = most  # some sample was cut off, so draw all of them again
        is_entry = np.arange(self._capacity) < counts[:, None]
        offsets = np.concatenate([[0], np.cumsum(counts)])
        return csr_array((values[is_entry], columns[is_entry], offsets), shape=(n_samples, len(self._law.means)))


def draw_samples(sampler: Sampler, W_p: np.ndarray, bias: np.ndarray, n_samples: int) -> Iterator[Samples]:
    """Yield the first samples of a sampler in blocks of `ROWS_AT_ONCE`, for features ``W_p`` (n_p x n) and a bias."""
    W_rows = np.ascontiguousarray(W_p.T)
    for start in range(0, n_samples, ROWS_AT_ONCE):
        x = sampler.coefficients(start, min(ROWS_AT_ONCE, n_samples - start))
        yield Samples(synthesise(x, W_rows, bias), None, x)


def synthesise(x: csr_array, W_rows: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Return the samples (N x n_p, float32) for coefficients (N x n), directions in rows (n x n_p) and a bias."""
    return np.asarray(x @ W_rows, dtype=np.float32) + bias
