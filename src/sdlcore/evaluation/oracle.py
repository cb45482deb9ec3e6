"""Codes of the dictionary that is the true features (Theorem 3.3): rows of encoder and decoder, without biases.

Its recovery is 1 by construction; how well it reconstructs says what recovery is worth to the loss.
"""

import numpy as np

from sdlcore.model.sigma import Sigma


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
