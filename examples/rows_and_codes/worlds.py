"""Worlds with SynthSAEBench's distribution whose structure and judged samples SAELens draws.

SAELens' code draws hierarchy, frequencies, correlations, magnitudes and the judged samples. Our generator draws the
training samples and the directions, since SAELens' code makes 16,384 directions orthogonal on a GPU.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from sae_lens.synthetic import (
    FeatureDictionary,
    FoldedNormalMagnitudeConfig,
    HierarchyConfig,
    LinearMagnitudeConfig,
    LowRankCorrelationConfig,
    SyntheticModel,
    SyntheticModelConfig,
    ZipfianFiringProbabilityConfig,
)
from scipy.sparse import csr_array, vstack
from torch import Tensor

import sdlcore as sdl
from sdlcore.random_streams import stream
from sdlcore.sources.saelens.model import read_synthetic_model
from sdlcore.sources.saelens.settings import SaelensSource
from sdlcore.sources.synth.sampler import Sampler, synthesise

N, N_P, ROOTS = 16384, 768, 128
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


def saelens_world(seed: int, folder: Path, judged: int) -> World:
    """Return a world of the full size, version 2, from SAELens' code. Its model is saved in ``folder`` once."""
    if not (folder / "hierarchy.json").is_file():
        config = SyntheticModelConfig(
            num_features=N,
            hidden_dim=N_P,
            firing_probability=ZipfianFiringProbabilityConfig(0.5, 0.4, 5e-4),
            hierarchy=HierarchyConfig(
                ROOTS,
                4,
                3,
                mutually_exclusive_portion=1.0,
                compensate_probabilities=True,
                scale_children_by_parent=True,
            ),
            correlation=LowRankCorrelationConfig(25, 0.1),
            mean_firing_magnitudes=LinearMagnitudeConfig(5.0, 4.0),
            std_firing_magnitudes=FoldedNormalMagnitudeConfig(0.5, 0.5),
            bias=0.5,
            seed=seed,
        )
        features = FeatureDictionary(N, N_P, bias=0.5, initializer=None, seed=seed)
        directions = sdl.SynthBench.draw(seed=seed).W_p.T
        features.feature_vectors.data = torch.from_numpy(np.ascontiguousarray(directions))
        SyntheticModel(config, feature_dict=features).save(folder)
    model = read_synthetic_model(SaelensSource(model=str(folder), n=N, n_p=N_P))
    sampler = Sampler(model.distribution, model.families, stream(seed, "rows and codes"))
    torch.manual_seed(seed)
    theirs = SyntheticModel.load_from_disk(folder).activation_generator
    replay = Replay((theirs.sample(BATCH) for _ in iter(int, 1)), judged)
    return World(model.W_p, np.asarray(model.distribution.bias, dtype=np.float32), sampler, replay)
