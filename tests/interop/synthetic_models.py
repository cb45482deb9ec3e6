"""Run by the interpreter with SAELens: save synthetic models, and statistics of their samples.

    python tests/interop/synthetic_models.py FOLDER SAMPLES

Each model has a folder there, with ``statistics.npz`` beside its files.
"""

import logging
import sys
from pathlib import Path

import numpy as np
import torch
from sae_lens.synthetic import (
    ExponentialMagnitudeConfig,
    FoldedNormalMagnitudeConfig,
    HierarchyConfig,
    LinearMagnitudeConfig,
    LowRankCorrelationConfig,
    OrthogonalizationConfig,
    SyntheticModel,
    SyntheticModelConfig,
    ZipfianFiringProbabilityConfig,
)

BLOCK = 10_000
SIZES = {"num_features": 96, "hidden_dim": 48, "firing_probability": ZipfianFiringProbabilityConfig(0.5, 0.4, 0.01)}
NESTED = {"compensate_probabilities": True, "scale_children_by_parent": True}
MODELS = {
    # SynthSAEBench's settings at another size
    "synthsaebench": SyntheticModelConfig(
        **SIZES,
        hierarchy=HierarchyConfig(2, 4, 2, mutually_exclusive_portion=1.0, **NESTED),
        orthogonalization=OrthogonalizationConfig(20, 3e-4),
        correlation=LowRankCorrelationConfig(25, 0.1),
        mean_firing_magnitudes=LinearMagnitudeConfig(5.0, 4.0),
        std_firing_magnitudes=FoldedNormalMagnitudeConfig(0.5, 0.5),
        bias=0.5,
        seed=1,
    ),
    # trees with unequal branching, some with mutually exclusive siblings, and children that are only silenced
    "other": SyntheticModelConfig(
        **SIZES,
        hierarchy=HierarchyConfig(3, (2, 5), 2, mutually_exclusive_portion=0.5),
        mean_firing_magnitudes=ExponentialMagnitudeConfig(1.0, 4.0),
        std_firing_magnitudes=FoldedNormalMagnitudeConfig(0.5, 0.5, 0.2, 1.0),
        bias=False,
        seed=2,
    ),
    "flat": SyntheticModelConfig(**SIZES, correlation=LowRankCorrelationConfig(5, 0.2)),
}


def main(folder: Path, samples: int) -> None:
    for name, config in MODELS.items():
        SyntheticModel(config).save(folder / name)
        opened = SyntheticModel.load_from_disk(folder / name)
        blocks = [opened.sample_with_features(BLOCK) for _ in range(samples // BLOCK)]
        x = torch.cat([features for _, features in blocks]).numpy()
        on = (x > 0).astype(np.float32)
        np.savez(
            folder / name / "statistics.npz",
            active=on.sum(axis=0),
            together=on.T @ on,
            sum=x.sum(axis=0, dtype=float),
            squares=np.square(x, dtype=float).sum(axis=0),
            means=opened.activation_generator.mean_firing_magnitudes.numpy(),
            deviations=opened.activation_generator.std_firing_magnitudes.numpy(),
            hidden=opened.feature_dict(blocks[0][1][:100]).detach().numpy(),
            features=x[:100],
        )


if __name__ == "__main__":
    logging.disable()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    main(Path(sys.argv[1]), int(sys.argv[2]))
