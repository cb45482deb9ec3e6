"""SynthSAEBench's distribution at any size: frequent and rare, correlated, nested and superposed features.

`SynthBench` draws directions and a distribution once, and then any number of samples. `write_synth_recipe` describes a
bench in a small JSON file, the recipe. A training with a recipe draws its own samples without storing them.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import scipy.special
import torch
from scipy.sparse import csr_array

from sdlcore.benches.config import SynthSource
from sdlcore.benches.known_features import KnownFeatures, Part, Samples
from sdlcore.benches.saelens_evaluation import Coefficients, FeatureVectors
from sdlcore.data.arrays import Arrays
from sdlcore.data.batches import Request, TrainingRows
from sdlcore.random_streams import stream
from sdlcore.settings import Json, Seed, Total, checked
from sdlcore.storage.files import write_json

ROWS_AT_ONCE = 4096
FORMAT = "an sdlcore stream of SynthSAEBench's distribution"
FIRST_ROWS = 2**16
"""The first samples, which normalisation and the statistics of posterior codes are fitted to."""
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


def directions(n: int, dimension: int, steps: int, rate: float, rng: np.random.Generator) -> np.ndarray:
    """Draw n unit directions with slightly less interference than random ones (dimension x n, float32); see
    `orthogonalise`. With 0 steps the directions stay random."""
    start = rng.standard_normal((n, dimension))
    return orthogonalise(start / np.linalg.norm(start, axis=1, keepdims=True), steps, rate)


def orthogonalise(start: np.ndarray, steps: int, rate: float) -> np.ndarray:
    """Return unit directions with less interference, in columns (dimension x n, float32).

    Adam minimises the sum of squared inner products of different directions, plus n times the squared deviations of
    squared norms from 1, as in SynthSAEBench's orthogonalisation. With directions as rows of W, the first sum is
    |W W^T|_F^2 minus the squares of its diagonal. Since |W W^T|_F = |W^T W|_F, no n x n matrix is needed.

    Parameters
    ----------
    start
        Unit directions in rows (n x dimension, float64).
    steps, rate
        Number of Adam steps and their learning rate.
    """
    W = torch.tensor(start, requires_grad=True)
    optimiser = torch.optim.Adam([W], lr=rate)
    for _ in range(steps):
        squares = W.square().sum(1)
        loss = (W.T @ W).square().sum() - squares.square().sum() + len(start) * (squares - 1).square().sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    directions = W.detach().numpy()
    return (directions / np.linalg.norm(directions, axis=1, keepdims=True)).T.astype(np.float32)


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
        from sdlcore.benches.loops import BLOCK, TOGETHER, Free, Law, Nested

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
        from sdlcore.benches import loops

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


class SynthBench(KnownFeatures):
    """Synthetic data with SynthSAEBench's distribution (arXiv 2602.14687).

    Features are nested in trees, correlated and unequally frequent. `docs/benches.md` describes the distribution and
    its two versions.

    Parameters
    ----------
    settings, seed
        Settings and seed; `draw` draws the rest from them.
    W_p
        n_p x n unit features, float32.
    distribution
        The distribution of their coefficients.
    """

    def __init__(self, settings: SynthSource, seed: int, W_p: np.ndarray, distribution: Distribution) -> None:
        self.settings: SynthSource = settings
        self.seed, self.W_p, self.distribution = seed, W_p, distribution
        self._samplers = {part: self.sampler(part) for part in ("train", "test")}
        self._rows = W_p.T.copy()

    @classmethod
    def draw(cls, *, seed: int = 0, **settings: Any) -> Self:
        """Return a bench whose features are drawn now; `samples` draws its samples.

        The pipeline draws the same features and samples for the same settings and seed.

        Parameters
        ----------
        seed
            Seed of features and samples.
        **settings
            Settings of ``sources.synth``: ``n``, ``n_p``, ``roots``, ``version``, ...

        Raises
        ------
        ValueError
            If a setting is unknown or out of range, or contradicts another.
        """
        source, seed = SynthSource.from_dict(settings), checked("seed", Seed, seed)
        for key, problem in source.inconsistencies():
            raise ValueError(f"{key}: {problem}")
        directed = stream(seed, "synth", "directions")
        W_p = directions(source.n, source.n_p, source.orthogonal_steps, source.orthogonal_rate, directed)
        return cls(source, seed, W_p, draw_distribution(source, stream(seed, "synth", "law")))

    def sampler(self, part: str) -> Sampler:
        """Return the sampler of a part; the pipeline uses the parts ``train`` and ``test``."""
        return Sampler(self.distribution, families(self.settings), stream(self.seed, "synth", part))

    def samples(self, n_samples: int, part: Part = "train", first: int = 0) -> Samples:
        """Return samples with their coefficients: ``input`` and ``features``; ``target`` is None.

        Parameters
        ----------
        n_samples
            Number of samples.
        part
            ``train``, or ``test`` for the samples that `evaluate` uses.
        first
            Number of the first sample. A sample depends only on the bench, the part and its number, so successive
            calls can draw any number of samples that were never seen before.

        Raises
        ------
        ValueError
            If the part is unknown, ``n_samples`` is below 1, or ``first`` is negative.
        """
        checked("part", Part, part)
        checked("n_samples", Total, n_samples)
        checked("first", Seed, first)
        x = self._samplers[part].coefficients(first, n_samples)
        return Samples(synthesise(x, self._rows, self.distribution.bias), None, x)

    def to_saelens(self) -> tuple[FeatureVectors, Coefficients]:
        """Return the features and a sample generator for SAELens' ``eval_sae_on_synthetic_data``.

        The generator's samples are in neither of the parts ``train`` and ``test``.
        """
        sampler, drawn = self.sampler("saelens"), 0

        def draw(batch_size: int) -> csr_array:
            nonlocal drawn
            drawn += batch_size
            return sampler.coefficients(drawn - batch_size, batch_size)

        return FeatureVectors(self.W_p, self.distribution.bias), Coefficients(draw)

    def __repr__(self) -> str:
        """Return the main settings on one line."""
        s = self.settings
        return f"SynthBench(n={s.n}, n_p={s.n_p}, roots={s.roots}, version={s.version}, seed={self.seed})"


def write_synth_recipe(path: str | Path, source: SynthSource, seed: int, provenance: Mapping[str, Json]) -> None:
    """Write the recipe of a bench's training samples to a file, or replace the file."""
    recipe = {"format": FORMAT, "source": source.to_dict(), "seed": seed, "widths": [source.n_p]}
    write_json(path, recipe | {"provenance": dict(provenance)})


def synth_stream(path: str | Path, request: Request) -> TrainingRows:
    """Open the stream of a recipe for a training. With batches of B, step s trains on samples s B to s B + B - 1.

    The stream does not end. Samples are independent, so they need no shuffling, and the target is the input.
    """
    recipe = json.loads(Path(path).read_text(encoding="utf-8"))
    bench = SynthBench.draw(seed=recipe["seed"], **recipe["source"])

    def batch(step: int) -> tuple[np.ndarray, np.ndarray]:
        x = bench.samples(request.batch_size, first=step * request.batch_size).input
        return x, x

    return TrainingRows((len(bench.W_p),), batch, lambda: Arrays(bench.samples(FIRST_ROWS).input))
