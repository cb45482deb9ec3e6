"""The ground-truth configuration (Theorem 3.3) as a dictionary: rows of the encoder and of the decoder are the true
features, without biases. Its recovery is 1 by construction; how well it reconstructs says what recovery is worth to the
loss.
"""

import numpy as np

from sdlcore.run import ModelConfig


def oracle_codes(x_BP: np.ndarray, true_p: np.ndarray, config: ModelConfig) -> np.ndarray:
    """Return the codes (B x n) of samples by the true features.

    ReLU keeps what is positive; TopK and BatchTopK the k largest of it, by sample or on average over the B samples;
    JumpReLU and Gated what exceeds the largest inner product of two features, which a single active feature of
    magnitude 1 does not exceed at any other.

    Parameters
    ----------
    x_BP
        Samples, B x n_p.
    true_p
        True features, n x n_p, unit rows.
    config
        The model whose sigma and k are taken.
    """
    z_BN = np.maximum(x_BP @ true_p.T, 0)
    if config.activation in ("jumprelu", "gated"):
        inner = true_p @ true_p.T
        np.fill_diagonal(inner, -np.inf)
        return np.where(z_BN > inner.max(), z_BN, 0)
    if config.k is None or config.k >= z_BN.shape[1]:
        return z_BN
    rows, kept = (z_BN, config.k) if config.activation == "topk" else (z_BN.reshape(1, -1), config.k * len(z_BN))
    least = np.partition(rows, -kept, axis=1)[:, -kept, None]
    return np.where(rows >= np.maximum(least, np.finfo(rows.dtype).tiny), rows, 0).reshape(z_BN.shape)
