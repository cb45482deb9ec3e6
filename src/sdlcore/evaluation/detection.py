"""Latents as detectors of features: precision, recall and F1 latent by latent, and how many features they share.

SynthSAEBench's scores (Chanin and Garriga-Alonso 2026, arXiv 2602.14687). Each latent is taken for the feature that its
decoder column is nearest to, and all latents count alike. So a dictionary that is narrower than the number of features
loses nothing by it, and each dead or surplus latent costs.
"""

import numpy as np
import scipy.sparse

from sdlcore.evaluation.recovery import normalise_rows


class Detection:
    """How well each latent tells whether its feature is active, over samples that are added block by block.

    Parameters
    ----------
    W_dec
        n_q x n_r, by latent.
    true
        n x n_r true directions, of any norm.
    """

    def __init__(self, W_dec: np.ndarray, true: np.ndarray) -> None:
        cosines = normalise_rows(W_dec.astype(np.float64)) @ normalise_rows(true.astype(np.float64)).T
        self.features = np.abs(cosines, out=cosines).argmax(axis=1)
        """The nearest feature of each latent (n_q)."""
        self._hits, self._fired, self._active = (np.zeros(len(W_dec)) for _ in range(3))

    def add(self, latents: scipy.sparse.csr_array, x: scipy.sparse.csr_array) -> None:
        """Take B samples: their latents (B x n_q) and their true coefficients (B x n)."""
        fires, active = latents > 0, (x > 0)[:, self.features]
        self._hits += np.asarray(fires.multiply(active).sum(axis=0), dtype=float)
        self._fired += np.asarray(fires.sum(axis=0), dtype=float)
        self._active += np.asarray(active.sum(axis=0), dtype=float)

    def metrics(self) -> dict[str, float | None]:
        """Return the means over latents, and ``uniqueness``, the number of their features over that of latents.

        A latent that never fires has a precision, a recall and an F1 of 0.
        """
        precision = self._hits / np.maximum(1, self._fired)
        recall = self._hits / np.maximum(1, self._active)
        f1 = 2 * self._hits / np.maximum(1, self._fired + self._active)
        return {
            "detection_f1": float(f1.mean()),
            "detection_precision": float(precision.mean()),
            "detection_recall": float(recall.mean()),
            "uniqueness": len(np.unique(self.features)) / len(self.features),
        }
