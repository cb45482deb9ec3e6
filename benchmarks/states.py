"""The samples of the benchmark, and the weights with which all libraries are timed.

The step time of ReLU, JumpReLU and Gated may depend on the number of active latents, which would differ between
libraries after training. So all libraries start from the same weights: a dictionary of the true features among random
unit vectors, a tied encoder, and one bound, which the wanted number of pre-activations exceeds. The bound is a bias for
ReLU, a threshold for JumpReLU and the gate's bias for Gated, so the same latents are active in all three. Products in
lower types are rounded, differently on each processor, so `calibrate` finds each case's bound by the case's own count.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.cases import DIMENSION
from sdlcore.benches.config import BenchSamples
from sdlcore.benches.lrb import coefficients, feature_matrix, synthesise
from sdlcore.random_streams import stream

N_FEATURES = 1000
SPARSITY = 0.99
MAX_INTERFERENCE = 0.1
CLOSE = 0.01
"""Acceptable relative difference from the wanted number of active latents."""
TRIES = 6
"""Largest number of bounds to try for a case."""


class Bench(NamedTuple):
    """Samples of the Linear Representation Bench at the paper's scale."""

    W: np.ndarray
    """dimension x n: the true features."""
    x: np.ndarray
    """N x dimension."""


def bench(seed: int, n_samples: int, dimension: int = DIMENSION, n_features: int = N_FEATURES) -> Bench:
    """Draw the bench (n = 1000, n_p = 768, S = .99, M = .1, about ten active features per sample)."""
    W = feature_matrix(dimension, n_features, stream(seed, "feature matrix"), MAX_INTERFERENCE).W
    drawn = coefficients(n_samples, n_features, BenchSamples(sparsity=SPARSITY), stream(seed, "samples"))
    return Bench(W, synthesise(drawn, W))


def dictionary(W: np.ndarray, latents: int, seed: int) -> np.ndarray:
    """Return latents x dimension unit rows: the true features at random positions among random directions."""
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
        If fewer pre-activations are positive, so that no threshold >= 0 keeps ``l0`` of them.
    """
    pre = (torch.from_numpy(x) @ torch.from_numpy(rows).T).numpy().ravel()
    place = pre.size - round(l0 * len(x))
    bound = float(np.partition(pre, place - 1)[place - 1])
    if bound <= 0:
        raise ValueError(f"no {l0} of {len(rows)} latents have positive pre-activations; ask for fewer")
    return bound


def calibrate(wanted: float, bound_for: Callable[[float], float], start: Callable[[float], float]) -> float:
    """Start a case at the bound that keeps ``wanted`` latents active; return its number of active latents.

    Parameters
    ----------
    wanted
        Wanted number of active latents per sample.
    bound_for
        Returns the bound that a given number of float32 pre-activations exceeds.
    start
        Starts the case at a bound; returns its number of active latents. The last start counts.
    """
    aim = wanted
    for _ in range(TRIES):
        found = start(bound_for(aim))
        if abs(found - wanted) <= CLOSE * wanted:
            break
        # without active latents, there is no ratio to correct by
        aim *= min(wanted / found, 2.0) if found else 2.0
    return found


def save_dictionary(path: Path, rows: np.ndarray) -> None:
    """Write a dictionary for `load_state`."""
    save_file({"W": torch.from_numpy(rows)}, path)


def load_state(path: Path, bound: float, method: str) -> dict[str, Tensor]:
    """Return the weights (`weights`) for a saved dictionary and a bound."""
    # a copy, because tensors from safetensors stay memory-mapped, and would count as memory of the training
    return weights(load_file(path)["W"].clone(), torch.tensor(bound), method)


def weights(W: Tensor, bound: Tensor, method: str) -> dict[str, Tensor]:
    """Return the weights of one method with the dictionary ``W`` and a 0-d bound on pre-activations.

    They have SAELens' names; ``W_enc`` and ``W_dec`` are latents x dimension.
    """
    latents, dimension = W.shape
    zero, high = torch.zeros(latents), bound.expand(latents)
    biases = {
        "relu": {"b_enc": -high},
        "jumprelu": {"b_enc": zero, "threshold": high},
        "p_annealing": {"b_enc": -high},
        "gated": {"b_gate": -high, "b_mag": zero, "r_mag": zero},
        "matching_pursuit": {},
        "lista": {"b_enc": zero, "sigma.log_step": zero},
    }.get(method, {"b_enc": zero})
    encoder = {} if method == "matching_pursuit" else {"W_enc": W}
    return {**encoder, "W_dec": W, "b_dec": torch.zeros(dimension), **biases}
