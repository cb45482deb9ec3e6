"""The data of the bench, and weights in which all libraries are timed.

How long a step of ReLU, JumpReLU or Gated takes may depend on how many latents are active, which no two libraries would
agree on after a training of their own. So all start from the same weights: a dictionary that holds the true features
among random unit vectors, with the encoder tied, and one bound that the wanted number of pre-activations exceeds. The
bound is a bias to ReLU, a threshold to JumpReLU and the gate's bias to Gated: the same latents are active in all three.
A product in a lower type rounds, and each processor rounds in its own way, so `calibrate` finds each case's bound by
what that case itself counts.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.cases import DIMENSION
from sdlcore.random_streams import stream
from sdlcore.sources.bench.feature_matrix import FeatureMatrixConfig, feature_matrix
from sdlcore.sources.bench.samples import coefficients, synthesise

N_FEATURES = 1000
SPARSITY = 0.99
MAX_INTERFERENCE = 0.1
CLOSE = 0.01
"""Difference from the wanted number of active latents at which a bound is good enough, as a share of it."""
TRIES = 6
"""Bounds that are tried for a case, at most."""


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


def calibrate(wanted: float, bound_for: Callable[[float], float], start: Callable[[float], float]) -> float:
    """Start a case at the bound that keeps ``wanted`` latents active, and return how many are.

    Parameters
    ----------
    wanted
        Number of active latents a sample.
    bound_for
        Gives the bound that so many pre-activations exceed, as float32 has them.
    start
        Starts the case at a bound, and returns how many latents it has active. The last start is the one that counts.
    """
    aim = wanted
    for _ in range(TRIES):
        found = start(bound_for(aim))
        if abs(found - wanted) <= CLOSE * wanted:
            break
        # where none is active nothing says by how much to correct
        aim *= min(wanted / found, 2.0) if found else 2.0
    return found


def save_dictionary(path: Path, rows: np.ndarray) -> None:
    """Write a dictionary for `load_state`."""
    save_file({"W": torch.from_numpy(rows)}, path)


def load_state(path: Path, bound: float, method: str) -> dict[str, Tensor]:
    """Return what `weights` makes of a saved dictionary and a bound."""
    # a copy, since what safetensors gives stays mapped and would count as the trained model's memory
    return weights(load_file(path)["W"].clone(), torch.tensor(bound), method)


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
