"""The oracle dictionary: true features as encoder rows and decoder columns, without biases (Theorem 3.3).

The oracle's recovery is 1 by construction. The oracle's reconstruction error shows how far the loss rewards recovery.
"""

import copy

import numpy as np
import torch

from sdlcore.data.memory import Activations
from sdlcore.evaluation.metric_names import Baseline, baseline_name
from sdlcore.evaluation.samples import Spread, batches
from sdlcore.model.activation import Activation, Encoder, Weights
from sdlcore.model.activations.posterior import Posterior
from sdlcore.model.coder import SparseCoder


def oracle_codes(x_BP: np.ndarray, true_p: np.ndarray, sigma: Activation) -> np.ndarray:
    """Return the codes (B x n) of samples by the true features, under a model's activation.

    The pre-activations are the positive inner products with the features, or all of them if latents are signed. An
    activation without parameters is applied to these pre-activations as in training: TopK keeps the k largest of each
    sample, BatchTopK as many on average over the B samples. JumpReLU, Gated and posterior codes learned their
    parameters for other directions, so a threshold replaces them: the largest inner product of two features. A sample
    of a single feature with magnitude 1 then activates no other feature.

    Parameters
    ----------
    x_BP
        Samples, B x n_p.
    true_p
        True features, n x n_p, unit rows.
    sigma
        The model's activation. It is not modified.
    """
    z_BN = x_BP @ true_p.T
    if not sigma.signed:
        z_BN = np.maximum(z_BN, 0)
    if any(True for _ in sigma.parameters()) or isinstance(sigma, Posterior):
        inner = true_p @ true_p.T
        np.fill_diagonal(inner, -np.inf)
        return np.where(z_BN > inner.max(), z_BN, 0)
    z, true = torch.from_numpy(z_BN), torch.from_numpy(np.ascontiguousarray(true_p))
    with torch.no_grad():
        if isinstance(sigma, Encoder):
            weights = Weights(true, true.new_zeros(len(true)), true, true.new_zeros(true.shape[1]))
            return sigma.encode(torch.from_numpy(np.ascontiguousarray(x_BP)), weights).numpy()
        return copy.deepcopy(sigma).train()(z).numpy()


def oracle(model: SparseCoder, store: Activations, true_p: np.ndarray, true_r: np.ndarray) -> dict[str, float | None]:
    """Return L0 and FVU of the true features as a dictionary; the FVU is None if all samples are equal."""
    active, error, spread = 0, 0.0, Spread(sum(model.target_sites))
    for x_p, x_r in batches(store, model.config.pair):
        codes = oracle_codes(x_p, true_p, model.sigma)
        active += int((codes != 0).sum())
        error += float(np.square(x_r - codes @ true_r).sum())
        spread.add(x_r)
    return {
        baseline_name(Baseline.ORACLE, "l0"): active / store.rows,
        baseline_name(Baseline.ORACLE, "fvu"): error / spread.total if spread.total else None,
    }
