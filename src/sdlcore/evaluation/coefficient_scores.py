"""Measure detection, splitting, shrinkage and absorption by the true coefficients, in one pass over the samples."""

import numpy as np
import scipy.sparse

from sdlcore.evaluation.absorption import absorption, absorption_score, match_latents
from sdlcore.evaluation.detection import Detection
from sdlcore.evaluation.splitting import Splitting
from sdlcore.sources.bench.hierarchy import Hierarchy


class CoefficientScores:
    """Takes a store's samples block by block, in its order.

    Parameters
    ----------
    W_dec
        n_q x n_r, by latent.
    true
        n x n_r: what one unit of each feature is in the target, not normalised.
    x
        N x n true coefficients of the store.
    hierarchy
        Parents and children among the features, where there are any.
    """

    def __init__(
        self, W_dec: np.ndarray, true: np.ndarray, x: scipy.sparse.csr_array, hierarchy: Hierarchy | None
    ) -> None:
        self._x, self._hierarchy = x, hierarchy
        self._splitting, self._detection = Splitting(W_dec, true), Detection(W_dec, true)
        squares = np.square(true).sum(axis=1)
        # by these an inner product says how many units of the feature there are
        self._units = (true / squares[:, None]).T
        judged = hierarchy is not None and len(W_dec) >= len(true)
        self._own = match_latents(W_dec, (true / np.sqrt(squares)[:, None]).T) if judged else None
        self._W_dec = W_dec[self._own] if judged else None
        self._latents: list[np.ndarray] = []
        self._seen = 0

    def add(self, latents: np.ndarray) -> None:
        """Take the latents (B x n_q) of the next B samples."""
        stop = self._seen + len(latents)
        sparse, x = scipy.sparse.csr_array(latents), self._x[self._seen : stop]
        self._splitting.add(sparse, x)
        self._detection.add(sparse, x)
        if self._own is not None:
            self._latents.append(latents[:, self._own])
        self._seen = stop

    def rarest(self) -> np.ndarray:
        """Return the quarter of features, one at least, that are active in fewest samples."""
        active = np.asarray((self._x > 0).sum(axis=0))
        return np.argsort(active, kind="stable")[: max(1, len(active) // 4)]

    def metrics(self) -> dict[str, float | None]:
        """Return what detection and splitting have, and with a hierarchy ``absorption``.

        The last is None where there are fewer latents than features, or no sample that tells.
        """
        metrics = self._splitting.metrics() | self._detection.metrics()
        if self._hierarchy is None:
            return metrics
        metrics["absorption"] = None
        if self._W_dec is not None:
            latents = np.concatenate(self._latents)
            score = absorption_score(absorption(latents, self._x, self._W_dec, self._units, self._hierarchy))
            metrics["absorption"] = None if np.isnan(score) else score
        return metrics
