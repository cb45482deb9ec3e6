"""Worlds with SynthSAEBench's distribution, whose judged samples are drawn once, for all dictionaries."""

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
from sdlcore.benches.config import SaelensSource
from sdlcore.benches.saelens import read_synthetic_model
from sdlcore.benches.synth import Sampler, orthogonalise, synthesise
from sdlcore.random_streams import stream

BATCH = 1024
ORTHOGONAL_STEPS, ORTHOGONAL_RATE = 100, 3e-4
"""Adam steps and learning rate of SynthSAEBench-16k."""


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
    replay = Replay((generator.sample(BATCH) for _ in iter(int, 1)), judged)
    return World(bench.W_p, np.asarray(bench.distribution.bias, dtype=np.float32), bench.sampler("train"), replay)


def saelens_world(seed: int, folder: Path, judged: int, n: int = 16384, n_p: int = 768, roots: int = 128) -> World:
    """Return a world of version 2 that SAELens' code draws, from its directions to the judged samples.

    Its model is saved in ``folder`` once.
    Two parts are computed by our code, since SAELens' takes hours: `orthogonalise` minimises the loss of SAELens'
    orthogonalisation without an n x n matrix, and `Sampler` draws training samples from the saved model.
    """
    if not (folder / "hierarchy.json").is_file():
        nested = HierarchyConfig(
            roots, 4, 3, mutually_exclusive_portion=1.0, compensate_probabilities=True, scale_children_by_parent=True
        )
        config = SyntheticModelConfig(
            num_features=n,
            hidden_dim=n_p,
            firing_probability=ZipfianFiringProbabilityConfig(0.5, 0.4, 5e-4),
            hierarchy=nested,
            correlation=LowRankCorrelationConfig(25, 0.1),
            mean_firing_magnitudes=LinearMagnitudeConfig(5.0, 4.0),
            std_firing_magnitudes=FoldedNormalMagnitudeConfig(0.5, 0.5),
            bias=0.5,
            seed=seed,
        )
        features = FeatureDictionary(n, n_p, bias=0.5, initializer=None, seed=seed)
        start = features.feature_vectors.detach().numpy().astype(float)
        directions = np.ascontiguousarray(orthogonalise(start, ORTHOGONAL_STEPS, ORTHOGONAL_RATE).T)
        features.feature_vectors.data = torch.from_numpy(directions)
        SyntheticModel(config, feature_dict=features).save(folder)
    model = read_synthetic_model(SaelensSource(model=str(folder), n=n, n_p=n_p))
    sampler = Sampler(model.distribution, model.families, stream(seed, "rows and codes"))
    torch.manual_seed(seed)
    generator = SyntheticModel.load_from_disk(folder).activation_generator
    replay = Replay((generator.sample(BATCH) for _ in iter(int, 1)), judged)
    return World(model.W_p, np.asarray(model.distribution.bias, dtype=np.float32), sampler, replay)
