"""The data of the bench, and weights in which all libraries are timed.

How long a step of ReLU, JumpReLU or Gated takes may depend on how many latents are active, which no two libraries would
agree on after a training of their own. So all start from the same weights: a dictionary that holds the true features
among random unit vectors, with the encoder tied, and one bound that the wanted number of pre-activations exceeds. The
bound is a bias to ReLU, a threshold to JumpReLU and the gate's bias to Gated: the same latents are active in all three.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.cases import DIMENSION
from sdlcore.bench.feature_matrix import FeatureMatrixConfig, feature_matrix
from sdlcore.bench.samples import coefficients, synthesise
from sdlcore.streams import stream

N_FEATURES = 1000
SPARSITY = 0.99
MAX_INTERFERENCE = 0.1


class Bench(NamedTuple):
    """Samples of the Linear Representation Bench at the paper's scale."""

    W: np.ndarray
    """dimension x n: the true features."""
    x: np.ndarray
    """N x dimension."""


def bench(seed: int, n_samples: int, dimension: int = DIMENSION, n_features: int = N_FEATURES) -> Bench:
    """Draw the bench (n = 1000, n_p = 768, S = .99, M = .1, about ten active features a sample)."""
    config = FeatureMatrixConfig(max_interference=MAX_INTERFERENCE)
    W = feature_matrix(dimension, n_features, stream(seed, "feature matrix"), config).W
    return Bench(W, synthesise(coefficients(n_samples, n_features, SPARSITY, stream(seed, "samples")), W))


def dictionary(W: np.ndarray, latents: int, seed: int) -> np.ndarray:
    """Return latents x dimension unit rows: the true features, in random places, among random directions."""
    rng = stream(seed, "dictionary")
    rows = rng.standard_normal((latents, len(W)), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    rows[rng.choice(latents, W.shape[1], replace=False)] = W.T
    return rows


def bound_for(x: np.ndarray, rows: np.ndarray, l0: float) -> float:
    """Return the number that ``l0`` of a sample's pre-activations exceed on average.

    Raises
    ------
    ValueError
        If so many are not positive: then there is no threshold >= 0 that keeps them.
    """
    pre = (torch.from_numpy(x) @ torch.from_numpy(rows).T).numpy().ravel()
    place = pre.size - round(l0 * len(x))
    bound = float(np.partition(pre, place - 1)[place - 1])
    if bound <= 0:
        raise ValueError(f"no {l0} of {len(rows)} latents have positive pre-activations; ask for fewer")
    return bound


def save_state(path: Path, rows: np.ndarray, bound: float) -> None:
    """Write a state for `load_state`."""
    tensors = {"W": torch.from_numpy(rows), "bound": torch.tensor(bound)}
    save_file(tensors, path)


def load_state(path: Path, method: str) -> dict[str, Tensor]:
    """Return what `weights` makes of a state."""
    tensors = load_file(path)
    # a copy, since what safetensors gives stays mapped and would count as the trained model's memory
    return weights(tensors["W"].clone(), tensors["bound"].clone(), method)


def weights(W: Tensor, bound: Tensor, method: str) -> dict[str, Tensor]:
    """Return the weights of one method with the dictionary ``W`` and a 0-d bound on pre-activations.

    They have the names that SAELens gives them; ``W_enc`` is latents x dimension, as ``W_dec``.
    """
    latents, dimension = W.shape
    zero, high = torch.zeros(latents), bound.expand(latents)
    biases = {
        "relu": {"b_enc": -high},
        "jumprelu": {"b_enc": zero, "threshold": high},
        "gated": {"b_gate": -high, "b_mag": zero, "r_mag": zero},
    }.get(method, {"b_enc": zero})
    return {"W_enc": W, "W_dec": W, "b_dec": torch.zeros(dimension), **biases}
