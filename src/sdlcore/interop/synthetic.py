"""Adapt a bench to SAELens' evaluation on synthetic data.

The classes serve as the arguments of ``sae_lens.synthetic.eval_sae_on_synthetic_data(sae, feature_dict,
activations_generator, ...)``. The classes provide only the attributes and methods that this function uses; SAELens is
not imported.
"""

from collections.abc import Callable
from itertools import count

import numpy as np
import scipy.sparse
import torch
from scipy.sparse import csr_array
from torch import Tensor

from sdlcore.errors import RefusedError
from sdlcore.sources.bench.samples import draw_samples
from sdlcore.sources.bench.settings import BenchSource
from sdlcore.sources.synth.world import World


class FeatureVectors:
    """True features in the form of SAELens' ``FeatureDictionary``. A call turns coefficients (N x n) into samples.

    Parameters
    ----------
    W
        The n features, as columns of n_p dimensions.
    bias
        Vector that is added to every sample (n_p); None for zeros.

    Attributes
    ----------
    feature_vectors
        The features as rows: n x n_p, float32.
    """

    def __init__(self, W: np.ndarray, bias: np.ndarray | None = None) -> None:
        self._rows = np.ascontiguousarray(W.T)
        self.feature_vectors = torch.from_numpy(self._rows)
        self._bias = np.zeros(len(W), dtype=np.float32) if bias is None else bias

    def __call__(self, coefficients: Tensor) -> Tensor:
        """Return the samples (N x n_p) for coefficients (N x n)."""
        # most coefficients are zero, so a sparse product is faster
        return torch.from_numpy(csr_array(coefficients.numpy()) @ self._rows + self._bias)


class Coefficients:
    """Stand-in for SAELens' ``ActivationGenerator``: draws coefficients of a bench.

    Each call draws new samples. Two generators of the same bench draw the same samples in the same order.

    Parameters
    ----------
    draw
        Function from a number of samples to the coefficients of the next samples.
    """

    def __init__(self, draw: Callable[[int], csr_array]) -> None:
        self._draw = draw

    def sample(self, batch_size: int) -> Tensor:
        """Return new coefficients (batch_size x n, float32, dense)."""
        return torch.from_numpy(self._draw(batch_size).toarray())


class AnyEncoder:
    """Stand-in for SAELens' ``SAE``, for dictionaries that no SAELens class can express, such as iterative encoders.

    Parameters
    ----------
    W_dec
        n_q x n_p decoder rows.
    encode
        Function from samples (N x n_p) to latents (N x n_q).
    decode
        Function from latents to reconstructions.
    """

    def __init__(self, W_dec: Tensor, encode: Callable[[Tensor], Tensor], decode: Callable[[Tensor], Tensor]) -> None:
        self.W_dec, self.encode, self.decode = W_dec, encode, decode

    def eval(self) -> None:
        """Do nothing: there is only one mode."""


def for_saelens(bench: BenchSource, W_p: np.ndarray, seed: int) -> tuple[FeatureVectors, Coefficients]:
    """Return a bench's features and a generator of its coefficients.

    The number of a call of the generator determines its random stream.

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
    calls = count()

    def draw(batch_size: int) -> csr_array:
        blocks = draw_samples(bench, W_p, None, seed, f"saelens {next(calls)}", batch_size)
        return scipy.sparse.vstack([block.features for block in blocks], format="csr")

    return FeatureVectors(W_p), Coefficients(draw)


def synth_for_saelens(world: World) -> tuple[FeatureVectors, Coefficients]:
    """Return the features of a world of SynthSAEBench and a generator of its coefficients, as `for_saelens` does."""
    sampler, drawn = world.sampler("saelens"), 0

    def draw(batch_size: int) -> csr_array:
        nonlocal drawn
        drawn += batch_size
        return sampler.coefficients(drawn - batch_size, batch_size)

    return FeatureVectors(world.W_p, world.distribution.bias), Coefficients(draw)
