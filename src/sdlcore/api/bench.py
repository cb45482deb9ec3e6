"""The Linear Representation Bench: draw true features, samples and anchors."""

from typing import Any, Self

import numpy as np
import scipy.sparse

from sdlcore.api.known_features import KnownFeatures, Part
from sdlcore.interop.synthetic import Coefficients, FeatureVectors, for_saelens
from sdlcore.settings import Seed, Total, checked
from sdlcore.sources.bench.feature_matrix import draw_matrices
from sdlcore.sources.bench.samples import Samples, draw_samples
from sdlcore.sources.bench.settings import BenchSource, Hierarchy

STANDARD: dict[str, dict[str, Any]] = {
    # an eighth of the paper's size, as in config/config.yaml
    "lrb-s": {"n": 128, "n_p": 96, "sparsity": 0.97, "max_interference": 0.2, "train_samples": 20_000},
    # Table 3 of the paper
    "lrb-m": {"n": 1000, "n_p": 768, "sparsity": 0.99, "max_interference": 0.1, "train_samples": 100_000},
    # four times as large, with the same number of active features per sample
    "lrb-l": {"n": 4096, "n_p": 3072, "sparsity": 0.9975, "max_interference": 0.1, "train_samples": 400_000},
}
"""Settings of the standard benches by name. They never change, so scores can be compared. ``n_r`` equals ``n_p``, which
gives transcoders and crosscoders a second representation."""
SEED = 20251205
"""Seed of every standard bench."""
TEST_SAMPLES = 10_000


class Bench(KnownFeatures):
    """Synthetic data with known true features (Appendix C of arXiv 2512.05534).

    There are n unit features, and the inner product of any two is at most M. Each feature is active in a share 1 - S of
    the samples.

    Parameters
    ----------
    settings
        Settings of features and samples.
    seed
        Seed of features and samples.
    W_p, W_r
        n_p x n and n_r x n features; ``W_r`` is None if there is only one representation.

    Attributes
    ----------
    settings, seed, W_p, W_r
        As given.
    """

    def __init__(self, settings: BenchSource, seed: int, W_p: np.ndarray, W_r: np.ndarray | None = None) -> None:
        self.settings: BenchSource = settings
        self.seed, self.W_p, self.W_r = seed, W_p, W_r

    @classmethod
    def draw(cls, *, seed: int = 0, **settings: Any) -> Self:
        """Draw the features of a bench. The pipeline draws the same features for the same settings and seed.

        Parameters
        ----------
        seed
            Seed of features and samples.
        **settings
            Settings of a bench: ``n``, ``n_p``, ``n_r``, ``sparsity``, ``max_interference``, ...

        Raises
        ------
        ValueError
            If a setting is unknown or out of range, or ``max_interference`` cannot be reached.
        """
        source, seed = BenchSource.from_dict(settings), checked("seed", Seed, seed)
        for key, problem in source.inconsistencies():
            raise ValueError(f"{key}: {problem}")
        matrices = draw_matrices(source, seed)
        return cls(source, seed, matrices["W_p"].W, matrices["W_r"].W if "W_r" in matrices else None)

    @property
    def hierarchy(self) -> Hierarchy | None:
        """Parents and children among the features, for the metric ``absorption``; None if there are none."""
        return self.settings.hierarchy

    def samples(self, n_samples: int, part: Part = "train") -> Samples:
        """Return samples with their coefficients: ``input``, ``target`` and ``features``.

        Parameters
        ----------
        n_samples
            Number of samples.
        part
            ``train``, or ``test`` for the samples that `evaluate` uses. Calls with the same ``part`` and ``n_samples``
            return the same samples; another number gives other ones.

        Raises
        ------
        ValueError
            If the part is unknown, or ``n_samples`` is below 1.
        """
        checked("part", Part, part)
        checked("n_samples", Total, n_samples)
        blocks = list(draw_samples(self.settings, self.W_p, self.W_r, self.seed, part, n_samples))
        target = None if self.W_r is None else np.concatenate([block.target for block in blocks])
        features = scipy.sparse.vstack([block.features for block in blocks], format="csr")
        return Samples(np.concatenate([block.input for block in blocks]), target, features)

    def to_saelens(self) -> tuple[FeatureVectors, Coefficients]:
        """Return the features and a sample generator for SAELens' ``eval_sae_on_synthetic_data``.

        ``eval_sae_on_synthetic_data(sae, *bench.to_saelens(), num_samples=10_000, batch_size=1000)`` evaluates a
        SAELens dictionary on this bench.

        Raises
        ------
        RefusedError
            If the bench has noise or a second representation, which SAELens cannot express.
        """
        return for_saelens(self.settings, self.W_p, self.seed)

    def __repr__(self) -> str:
        """Return the main settings on one line."""
        s = self.settings
        second = f", n_r={s.n_r}" if s.n_r else ""
        settings = f"n={s.n}, n_p={s.n_p}{second}, sparsity={s.sparsity:g}, max_interference={s.max_interference:g}"
        return f"Bench({settings}, seed={self.seed})"


def standard_bench(name: str) -> Bench:
    """Draw a standard bench by name.

    ``lrb-s`` has 128 features in 96 dimensions (S = .97, M = .2), ``lrb-m`` 1000 in 768 (the paper's: S = .99, M = .1),
    ``lrb-l`` 4096 in 3072 (S = .9975, M = .1). All standard benches have a second representation with the same
    dimension.

    Drawing takes a second (``lrb-l`` half a minute), nothing is stored, and the result is the same to the bit every
    time. ``x, target = bench.sample()`` returns the training samples. Train an autoencoder with ``fit(x)``, since `fit`
    trains a crosscoder on a pair. `evaluate` draws its own samples.

    Raises
    ------
    ValueError
        If the name is unknown.
    """
    if name not in STANDARD:
        raise ValueError(f"no standard bench {name}; expected one of {', '.join(STANDARD)}")
    settings = STANDARD[name]
    return Bench.draw(seed=SEED, n_r=settings["n_p"], test_samples=TEST_SAMPLES, **settings)
