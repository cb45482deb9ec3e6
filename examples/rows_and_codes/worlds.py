"""Worlds with SynthSAEBench's distribution, whose judged samples are drawn once, for all dictionaries."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_array, vstack
from torch import Tensor

import sdlcore as sdl
from sdlcore.sources.synth.sampler import Sampler, synthesise

BATCH = 1024


class World(NamedTuple):
    """Features, a sampler for training, and the coefficients that SAELens' evaluator sees."""

    W_p: np.ndarray
    """n_p x n unit features."""
    bias: np.ndarray
    sampler: Sampler
    judge: Any
    """Draws coefficients (N x n), as SAELens' ``ActivationGenerator``."""

    def coefficients(self, first: int, n: int) -> csr_array:
        return self.sampler.coefficients(first, n)

    def samples(self, first: int, n: int) -> Tensor:
        rows = np.ascontiguousarray(self.W_p.T)
        return torch.from_numpy(synthesise(self.coefficients(first, n), rows, self.bias))


class Replay:
    """Coefficients that were drawn once, for every dictionary of a world: comparisons are paired."""

    def __init__(self, batches: Iterator[Tensor], n: int) -> None:
        parts, rows = [], 0
        while rows < n:
            parts.append(csr_array(next(batches).to_dense().numpy()))
            rows += parts[-1].shape[0]
        self.coefficients, self.next = vstack(parts, format="csr"), 0

    def sample(self, batch_size: int) -> Tensor:
        part = self.coefficients[self.next : self.next + batch_size]
        self.next += batch_size
        return torch.from_numpy(part.toarray())


def our_world(seed: int, settings: dict[str, int], judged: int) -> World:
    """Return a world that our generator draws whole."""
    bench = sdl.SynthBench.draw(seed=seed, **settings)
    _, generator = bench.to_saelens()
    world = bench.world
    replay = Replay((generator.sample(BATCH) for _ in iter(int, 1)), judged)
    return World(bench.W_p, np.asarray(world.distribution.bias, dtype=np.float32), world.sampler("train"), replay)
