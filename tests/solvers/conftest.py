"""A small bench for solvers, which do not know its number of features."""

from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from sdlcore.benches.config import BenchSamples
from sdlcore.benches.lrb import coefficients, feature_matrix, synthesise
from sdlcore.random_streams import stream


class Bench(NamedTuple):
    """Samples and their features."""

    x: Tensor
    """N x n_p."""
    features: Tensor
    """n x n_p, unit rows."""

    def batches(self, size: int):
        """Return a function that gives a solver's batches, in an endless sequence."""

        def batch(step: int) -> Tensor:
            return self.x[(torch.arange(size) + step * size) % len(self.x)]

        return batch

    def recovery(self, atoms: Tensor, tau: float = 0.9) -> float:
        return float(((self.features @ atoms.T).amax(1) > tau).float().mean())


def draw(n: int, n_p: int, n_samples: int, seed: int) -> Bench:
    W = feature_matrix(n_p, n, stream(seed, "features"), 0.4).W
    x = synthesise(coefficients(n_samples, n, BenchSamples(sparsity=0.95), stream(seed, "samples")), W)
    return Bench(torch.from_numpy(x), torch.from_numpy(np.ascontiguousarray(W.T)))


@pytest.fixture(scope="session")
def bench() -> Bench:
    return draw(n=40, n_p=32, n_samples=8192, seed=1000)
