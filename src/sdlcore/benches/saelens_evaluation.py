"""Arguments of SAELens' ``eval_sae_on_synthetic_data(sae, feature_dict, activations_generator, ...)``.

The classes provide only the attributes and methods that this function uses; SAELens is not imported.
"""

from collections.abc import Callable

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor


class FeatureVectors:
    """True features (n_p x n) in the form of SAELens' ``FeatureDictionary``.

    ``feature_vectors`` are the features as rows, n x n_p. A call turns coefficients (N x n) into samples (N x n_p), and
    adds ``bias`` (n_p) to each.
    """

    def __init__(self, W: np.ndarray, bias: np.ndarray | None = None) -> None:
        self._rows = np.ascontiguousarray(W.T)
        self.feature_vectors = torch.from_numpy(self._rows)
        self._bias = np.zeros(len(W), dtype=np.float32) if bias is None else bias

    def __call__(self, coefficients: Tensor) -> Tensor:
        # most coefficients are zero, so a sparse product is faster
        return torch.from_numpy(csr_array(coefficients.numpy()) @ self._rows + self._bias)


class Coefficients:
    """SAELens' ``ActivationGenerator``: ``draw`` takes a number of samples, and returns new coefficients (N x n)."""

    def __init__(self, draw: Callable[[int], csr_array]) -> None:
        self._draw = draw

    def sample(self, batch_size: int) -> Tensor:
        """Return new coefficients (batch_size x n, float32, dense)."""
        return torch.from_numpy(self._draw(batch_size).toarray())
