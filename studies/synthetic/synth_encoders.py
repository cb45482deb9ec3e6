"""Encoders that know SynthSAEBench's true features, for `studies.synthetic.oracle`. They need no SAELens.

Without trees, `Posterior` is a plain form of the posterior codes of `sdlcore.model.activations.posterior`, which a test
compares. The search of sdlcore knows no trees.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np
import torch
from scipy.sparse import csr_array

from sdlcore.benches.synth import SynthBench, families

CODES = ("linear", "posterior", "posterior, trees", "posterior, all rows")
STAGES, QUIET = 16, 8
"""`Posterior` tabulates odds at this number of noise levels. The lowest is the known noise divided by `QUIET`, since
samples differ in how many rarer features they contain. The highest is the mean square of the loudest sample."""
OFFSETS, TRIED = (0.0, 2.0, 4.0, 6.0), 10_000
"""Offsets of log odds to choose from, and the number of samples to choose by."""
BINS = 400
"""Number of bins of `Linear`'s histograms of estimates."""

_compiled = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"reassoc", "nsz", "contract", "arcp"})


class Known(NamedTuple):
    """Directions and statistics of the features that the oracle may use."""

    rows: np.ndarray
    """m x n_p unit features."""
    frequencies: np.ndarray
    """Shares of samples with the feature."""
    means: np.ndarray
    """Mean magnitudes in samples with the feature."""
    variances: np.ndarray
    """Variances of these magnitudes."""
    bias: np.ndarray
    """Mean of samples less their coefficients times rows (n_p)."""
    noise: float
    """Variance of a coordinate of that difference."""


def known(rows: np.ndarray, coefficients: csr_array, samples: np.ndarray) -> Known:
    """Estimate frequencies, magnitudes and noise from samples with known coefficients (N x m)."""
    counts = np.maximum(2, np.bincount(coefficients.indices, minlength=len(rows)))
    means = np.asarray(coefficients.sum(axis=0)).ravel() / counts
    squares = np.asarray(coefficients.multiply(coefficients).sum(axis=0)).ravel() / counts
    rest = samples - coefficients @ rows
    variances = np.maximum(1e-2, squares - np.square(means))
    return Known(
        rows, counts / len(samples), means, variances, rest.mean(axis=0), max(1e-3, float(rest.var(axis=0).mean()))
    )


class Trees(NamedTuple):
    """Hierarchy of the features that the oracle may use."""

    parents: np.ndarray
    """Row of each feature's parent; -1 for none."""
    offsets: np.ndarray
    """The children of row i are ``members[offsets[i]:offsets[i + 1]]``."""
    members: np.ndarray
    prior: np.ndarray
    """Log odds of each child against no child, if its parent is active."""
    means: np.ndarray
    """Mean magnitudes if the parent has its mean magnitude."""
    variances: np.ndarray
    scaled: bool
    """Whether children scale with their parents."""


def trees(bench: SynthBench, chosen: np.ndarray, frequencies: np.ndarray, known_trees: bool) -> Trees:
    """Return the hierarchy among the chosen features, or none."""
    source, law = bench.settings, bench.distribution
    place = np.full(source.n, -1)
    place[chosen] = np.arange(len(chosen))
    children: list[list[int]] = [[] for _ in chosen]
    parents, prior = np.full(len(chosen), -1), np.zeros(len(chosen), np.float32)
    for family in families(source) if known_trees else ():
        above, below = place[family.parent], [place[member] for member in family.members if place[member] >= 0]
        if above >= 0 and below:
            shares = frequencies[below] / frequencies[above]
            prior[below] = np.log(shares / max(0.01, 1 - shares.sum()))
            parents[below] = above
            children[above] = below
    return Trees(
        parents,
        np.cumsum([0, *map(len, children)]),
        np.array([child for below in children for child in below], dtype=np.int64),
        prior,
        law.means[chosen],
        np.maximum(1e-2, np.square(law.deviations[chosen])),
        source.version == 2,
    )


def noise_levels(noise: float, loudest: float) -> np.ndarray:
    """Return the noise levels of a search, ascending."""
    return np.geomspace(noise / QUIET, max(loudest, 1.01 * noise), STAGES).astype(np.float32)


class Posterior:
    """Codes by a greedy search for the most probable features of a sample.

    The model of a sample is a bias, features with known frequencies and normal magnitudes, and Gaussian noise. The
    search adds the feature with the highest odds of being active, given the residual, until no odds exceed 1. After
    each addition, the search sets the active codes to their conditional means, and removes features whose odds are 1 or
    less. The noise level follows the residual, so the search is careful while features are missing. In version 2,
    magnitudes are not normal, since some are close to zero. So one offset of all log odds is chosen by F1.

    With known trees, a child can only join an active parent without another active child, its odds and its mean depend
    on the parent's code, and a parent stays as long as its child does.
    """

    def __init__(self, given: Known, hierarchy: Trees, latents: int, loudest: float, offset: float) -> None:
        self.given, self.latents = given, latents
        self.hierarchy = hierarchy._replace(prior=hierarchy.prior + np.float32(offset))
        self.levels = noise_levels(given.noise, loudest)
        v, s = self.levels[:, None].astype(float), given.variances[None]
        m, p = given.means[None], np.clip(given.frequencies[None], 1e-6, 1 - 1e-6)
        constant = np.log(p / (1 - p)) - 0.5 * np.log((s + v) / v) - m**2 / (2 * (s + v))
        constant += offset
        constant[:, hierarchy.parents >= 0] = -1e9
        table = np.stack([constant, m / (s + v), 0.5 / v - 0.5 / (s + v)], axis=1)
        self.odds = np.ascontiguousarray(table, dtype=np.float32)
        """Stages x 3 x m: log odds for an inner product a with the residual are a polynomial in a."""
        self.shrink = np.ascontiguousarray(np.stack([s / (s + v), m * v / (s + v)], axis=1), dtype=np.float32)
        """Stages x 2 x m: the conditional mean is linear in a."""
        self.gram = np.ascontiguousarray(given.rows @ given.rows.T)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        centred = x.numpy() - self.given.bias
        products = centred @ self.given.rows.T
        codes = np.zeros_like(products)
        energies = np.square(centred).sum(axis=1)
        tables = (self.odds, self.shrink, self.levels)
        compiled: Any = search  # mypy cannot check unpacked tuples of several types
        compiled(products, energies, self.gram, *tables, *self.hierarchy, x.shape[1], codes)
        return torch.from_numpy(codes[:, : self.latents].copy())


@_compiled
def _child(inner: float, ratio: Any, noise: float, prior: float, mean: float, variance: float) -> tuple[float, float]:
    """Return a child's log odds and conditional mean; ``ratio`` is the parent's code divided by the parent's mean."""
    m, s = mean * ratio, variance * ratio * ratio
    total = s + noise
    odds = prior - 0.5 * np.log(total / noise) - (inner - m) ** 2 / (2 * total) + inner**2 / (2 * noise)
    return odds, (inner * s + m * noise) / total


@_compiled
def _has_child(i: int, offsets: np.ndarray, members: np.ndarray, z: np.ndarray) -> bool:
    """Return whether a child of row i is active."""
    found = False
    for c in range(offsets[i], offsets[i + 1]):
        found = found or z[members[c]] > 0
    return found


@_compiled
def search(
    products: np.ndarray,
    energies: np.ndarray,
    gram: np.ndarray,
    odds: np.ndarray,
    shrink: np.ndarray,
    levels: np.ndarray,
    parents: np.ndarray,
    offsets: np.ndarray,
    members: np.ndarray,
    prior: np.ndarray,
    means: np.ndarray,
    variances: np.ndarray,
    scaled: bool,
    dimension: int,
    codes: np.ndarray,
) -> None:
    """Write the codes of samples (N x m), as `Posterior` describes. Products and energies are overwritten."""
    m = len(gram)
    active = np.empty(m, np.int64)
    for r in range(len(products)):
        a, z, energy, count = products[r], codes[r], energies[r], 0
        for _ in range(400):
            stage = 0
            while stage + 1 < len(levels) and levels[stage] * dimension < energy:
                stage += 1
            constant, slope, curvature = odds[stage, 0], odds[stage, 1], odds[stage, 2]
            best, chosen = np.float32(0), -1
            for i in range(m):
                value = constant[i] + a[i] * (slope[i] + a[i] * curvature[i])
                if value > best and z[i] == 0 and a[i] > 0:
                    best, chosen = value, i
            for j in range(count):
                i = active[j]
                if offsets[i] == offsets[i + 1] or _has_child(i, offsets, members, z):
                    continue
                ratio = z[i] / means[i] if scaled else np.float32(1)
                for c in range(offsets[i], offsets[i + 1]):
                    k = members[c]
                    value, _mean = _child(a[k], ratio, levels[stage], prior[k], means[k], variances[k])
                    if value > best and a[k] > 0:
                        best, chosen = np.float32(value), k
            if chosen >= 0:
                active[count] = chosen
                count += 1
            changed, kept = np.float32(0), 0
            for j in range(count):
                i = active[j]
                inner = a[i] + z[i]
                if parents[i] >= 0:
                    ratio = z[parents[i]] / means[parents[i]] if scaled else np.float32(1)
                    value, mean = _child(inner, ratio, levels[stage], prior[i], means[i], variances[i])
                    value, new = np.float32(value), np.float32(mean)
                else:
                    new = shrink[stage, 0, i] * inner + shrink[stage, 1, i]
                    value = constant[i] + inner * (slope[i] + inner * curvature[i])
                if _has_child(i, offsets, members, z):
                    new = max(new, np.float32(0.05))
                elif value <= 0 or new <= 0 or inner <= 0:
                    new = np.float32(0)
                change = new - z[i]
                if change != 0:
                    energy -= change * (2 * a[i] - change)
                    row = gram[i]
                    for k in range(m):
                        a[k] -= change * row[k]
                    changed = max(changed, abs(change))
                z[i] = new
                if new > 0:
                    active[kept] = i
                    kept += 1
            count = kept
            if chosen < 0 and changed < 0.02:
                break


class Linear:
    """The best linear estimates of coefficients, with a threshold for each latent."""

    def __init__(self, given: Known, coefficients: csr_array, samples: np.ndarray) -> None:
        centred = samples - samples.mean(axis=0)
        covariance = centred.T @ centred
        self.W = np.linalg.solve(covariance.astype(float), np.asarray((coefficients.T @ centred).T)).astype(np.float32)
        self.bias = samples.mean(axis=0)
        m = len(given.rows)
        on, off = np.zeros((m, BINS), np.int64), np.zeros((m, BINS), np.int64)
        for start in range(0, len(samples), 4096):
            rows = slice(start, start + 4096)
            estimates = centred[rows] @ self.W
            histograms(estimates, coefficients[rows].toarray() > 0, given.means.astype(np.float32), on, off)
        hits, fires = (np.cumsum(found[:, ::-1], axis=1)[:, ::-1] for found in (on, on + off))
        f1 = 2 * hits / np.maximum(1, fires + hits[:, :1])
        # histograms cover -.5 to 1.5 times the mean magnitude
        self.thresholds = ((f1.argmax(axis=1) / BINS * 2 - 0.5) * given.means).astype(np.float32)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        estimates = (x.numpy() - self.bias) @ self.W
        return torch.from_numpy(np.where(estimates >= self.thresholds, np.maximum(estimates, 1e-6), np.float32(0)))


@_compiled
def histograms(estimates: np.ndarray, active: np.ndarray, means: np.ndarray, on: np.ndarray, off: np.ndarray) -> None:
    """Count estimates by their size relative to the mean magnitude, for active and silent features."""
    for r in range(len(estimates)):
        for i in range(len(means)):
            place = int(min(max((estimates[r, i] / means[i] + 0.5) * 0.5, 0.0), 0.9999) * on.shape[1])
            if active[r, i]:
                on[i, place] += 1
            else:
                off[i, place] += 1


def encoder(codes: str, bench: SynthBench, samples: int) -> tuple[np.ndarray, Callable[[torch.Tensor], torch.Tensor]]:
    """Return the n / 4 most frequent features (rows) and an encoder, which is tuned on training samples."""
    drawn = bench.samples(samples)
    order = np.argsort(-np.bincount(drawn.features.indices, minlength=bench.settings.n), kind="stable")
    latents = bench.settings.n // 4
    chosen = order if codes == "posterior, all rows" else order[:latents]
    rows = np.ascontiguousarray(bench.W_p.T[chosen])
    coefficients = drawn.features.tocsc()[:, chosen].tocsr()
    given = known(rows, coefficients, drawn.input)
    if codes == "linear":
        return rows, Linear(given, coefficients, drawn.input).encode
    loudest = float(np.square(drawn.input - given.bias).mean(axis=1).max())
    hierarchy = trees(bench, chosen, given.frequencies, codes == "posterior, trees")
    few = slice(0, min(TRIED, samples))
    active = coefficients[few][:, :latents].toarray() > 0

    def f1(found: Posterior) -> float:
        fires = found.encode(torch.from_numpy(drawn.input[few])).numpy() > 0
        return float(np.mean(2 * (fires & active).sum(axis=0) / np.maximum(1, fires.sum(axis=0) + active.sum(axis=0))))

    tried = [Posterior(given, hierarchy, latents, loudest, offset) for offset in OFFSETS]
    return rows[:latents], max(tried, key=f1).encode
