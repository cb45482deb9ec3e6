"""Adapt a bench to SAELens' evaluation on synthetic data.

The classes serve as the arguments of ``sae_lens.synthetic.eval_sae_on_synthetic_data(sae, feature_dict,
activations_generator, ...)``. The classes provide only the attributes and methods that this function uses; SAELens is
not imported.
"""

import torch
from numpy import ndarray
from torch import Tensor

from sdlcore.errors import RefusedError
from sdlcore.sources.bench.samples import draw_samples
from sdlcore.sources.bench.settings import BenchSource


class FeatureVectors:
    """Stand-in for SAELens' ``FeatureDictionary``: the true features, and samples from coefficients.

    Parameters
    ----------
    W
        n_p x n features.

    Attributes
    ----------
    feature_vectors
        n x n_p tensor, float32.
    """

    def __init__(self, W: ndarray) -> None:
        self.feature_vectors = torch.from_numpy(W.T.copy())

    def __call__(self, coefficients: Tensor) -> Tensor:
        """Return the samples (N x n_p) for coefficients (N x n)."""
        return coefficients @ self.feature_vectors


class Coefficients:
    """Stand-in for SAELens' ``ActivationGenerator``: draws coefficients of a bench.

    Each call draws from a stream named by the number of the call. So each call gives new samples, and two generators of
    one bench give the same samples in the same order.

    Parameters
    ----------
    bench, W_p, seed
        Settings of the bench, its features (n_p x n), and its seed.
    """

    def __init__(self, bench: BenchSource, W_p: ndarray, seed: int) -> None:
        self.bench, self.W_p, self.seed, self.calls = bench, W_p, seed, 0

    def sample(self, batch_size: int) -> Tensor:
        """Return new coefficients (batch_size x n, float32, dense)."""
        part = f"saelens {self.calls}"
        self.calls += 1
        blocks = draw_samples(self.bench, self.W_p, None, self.seed, part, batch_size)
        return torch.cat([torch.from_numpy(block.features.toarray()) for block in blocks])


def for_saelens(bench: BenchSource, W_p: ndarray, seed: int) -> tuple[FeatureVectors, Coefficients]:
    """Return a bench's features and a generator of its coefficients.

    Parameters
    ----------
    bench, W_p, seed
        Settings of the bench, its features (n_p x n), and its seed.

    Raises
    ------
    RefusedError
        If the bench has noise or a second representation, which SAELens cannot express.
    """
    if bench.noise:
        raise RefusedError(
            f"noise: SAELens cannot express a bench with noise {bench.noise:g}, since its samples are coefficients "
            "times features; draw the bench with noise 0"
        )
    if bench.n_r is not None:
        raise RefusedError(
            f"n_r: SAELens cannot express a bench with a second representation (n_r={bench.n_r}), since it evaluates "
            "only autoencoders; draw the bench without n_r"
        )
    return FeatureVectors(W_p), Coefficients(bench, W_p, seed)
