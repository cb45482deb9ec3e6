"""Draw a bench's samples, each part of them from streams of its own."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array

from sdlcore.random_streams import stream
from sdlcore.sources.bench.samples import Groups, coefficients, noise_deviation, noisy, synthesise
from sdlcore.sources.bench.settings import BenchSamples

ROWS_AT_ONCE = 8192


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
