"""The dictionary that is the true features (Theorem 3.3): rows of encoder and decoder, without biases.

Its recovery is 1 by construction; how well it reconstructs says what recovery is worth to the loss.
"""

import numpy as np

from sdlcore.data.memory import Activations
from sdlcore.evaluation.metric_names import Baseline, baseline_name
from sdlcore.evaluation.samples import Spread, batches
from sdlcore.model.sigma import Sigma
from sdlcore.model.sparse_coder import SparseCoder


def oracle_codes(x_BP: np.ndarray, true_p: np.ndarray, sigma: Sigma) -> np.ndarray:
    """Return the codes (B x n) of samples by the true features, as a model's sigma has it (`Sigma.oracle`).

    ReLU keeps what is positive; TopK and BatchTopK the k largest of it, by sample or on average over the B samples;
    JumpReLU and Gated what exceeds the largest inner product of two features.

    Parameters
    ----------
    x_BP
        Samples, B x n_p.
    true_p
        True features, n x n_p, unit rows.
    sigma
        The model's.
    """
    return sigma.oracle(np.maximum(x_BP @ true_p.T, 0), true_p)


def oracle(model: SparseCoder, store: Activations, true_p: np.ndarray, true_r: np.ndarray) -> dict[str, float | None]:
    """Return how sparse and how good the true features are as a dictionary; no FVU of samples that are all the same."""
    active, error, spread = 0, 0.0, Spread(sum(model.target_sites))
    for x_p, x_r in batches(store, model.config.pair):
        codes = oracle_codes(x_p, true_p, model.sigma)
        active += int((codes > 0).sum())
        error += float(np.square(x_r - codes @ true_r).sum())
        spread.add(x_r)
    return {
        baseline_name(Baseline.ORACLE, "l0"): active / store.rows,
        baseline_name(Baseline.ORACLE, "fvu"): error / spread.total if spread.total else None,
    }
