"""A bench in the form that SAELens evaluates dictionaries on synthetic data with.

``sae_lens.synthetic.eval_sae_on_synthetic_data(sae, feature_dict, activations_generator, ...)`` asks little of its last
two arguments: the features and what they make of coefficients, and coefficients. Nothing here imports SAELens.
"""

import torch
from numpy import ndarray
from torch import Tensor

from sdlcore.errors import RefusedError
from sdlcore.sources.bench.samples import draw_samples
from sdlcore.sources.bench.settings import BenchSource


class FeatureVectors:
    """What SAELens takes for a ``FeatureDictionary``.

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
        """Return the samples (N x n_p) of coefficients (N x n)."""
        return coefficients @ self.feature_vectors


class Coefficients:
    """What SAELens takes for an ``ActivationGenerator``.

    The number of a call names the stream that it draws from. So each call gives new samples, and two generators of one
    bench give the same ones in the same order.

    Parameters
    ----------
    bench, W_p, seed
        Settings, n_p x n features and seed of the bench.
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
        Settings, n_p x n features and seed of the bench.

    Raises
    ------
    RefusedError
        If the bench has noise or a second representation, which SAELens cannot express.
    """
    if bench.noise:
        raise RefusedError(
            f"noise: SAELens cannot express a bench with noise {bench.noise:g}: its samples are coefficients times "
            "features; draw the bench with noise 0"
        )
    if bench.n_r is not None:
        raise RefusedError(
            f"n_r: SAELens cannot express a bench with a second representation (n_r={bench.n_r}): it evaluates "
            "autoencoders alone; draw the bench without n_r"
        )
    return FeatureVectors(W_p), Coefficients(bench, W_p, seed)
