"""Measure detection, splitting and shrinkage by the true coefficients, in one pass over the samples."""

import numpy as np
import scipy.sparse

from sdlcore.data.recovery_rule import recovered
from sdlcore.evaluation.recovery import f1_scores, normalise_rows


class Detection:
    """F1, precision and recall of latents as detectors of features; samples are added block by block.

    ``latents`` and ``features`` are the indices of M pairs.
    """

    def __init__(self, latents: np.ndarray, features: np.ndarray) -> None:
        self.latents, self.features = latents, features
        self._both, self._fires, self._active = (np.zeros(len(latents), dtype=np.int64) for _ in range(3))

    @classmethod
    def of_nearest(cls, W_dec: np.ndarray, true: np.ndarray) -> "Detection":
        """Pair each latent with the feature nearest to its decoder column (n_q x n_r and n x n_r, of any norm)."""
        cosines = normalise_rows(W_dec.astype(np.float64)) @ normalise_rows(true.astype(np.float64)).T
        return cls(np.arange(len(W_dec)), np.abs(cosines, out=cosines).argmax(axis=1))

    def add(self, latents: scipy.sparse.csr_array, x: scipy.sparse.csr_array) -> None:
        """Add B samples: their latents (B x n_q) and their true coefficients, or which classes they have (B x n)."""
        fires, active = latents[:, self.latents] != 0, x[:, self.features] > 0
        self._both += np.asarray(fires.multiply(active).sum(axis=0))
        self._fires += np.asarray(fires.sum(axis=0))
        self._active += np.asarray(active.sum(axis=0))

    def macro_f1(self) -> float | None:
        """Return the mean F1 over pairs whose feature occurs in some sample; None if there are none."""
        scores = f1_scores(self._both, self._fires, self._active)
        return None if np.isnan(scores).all() else float(np.nanmean(scores))

    def metrics(self) -> dict[str, float | None]:
        """Return means over latents, and ``uniqueness``: the number of distinct nearest features per latent.

        The three scores are SynthSAEBench's (Chanin and Garriga-Alonso 2026, arXiv 2602.14687). Because they are means
        over latents, a dictionary with fewer latents than features does not score lower for that, and each dead or
        surplus latent lowers the scores. A latent that never fires has precision, recall and F1 of 0.
        """
        precision = self._both / np.maximum(1, self._fires)
        recall = self._both / np.maximum(1, self._active)
        f1 = 2 * self._both / np.maximum(1, self._fires + self._active)
        return {
            "detection_f1": float(f1.mean()),
            "detection_precision": float(precision.mean()),
            "detection_recall": float(recall.mean()),
            "uniqueness": len(np.unique(self.features)) / len(self.features),
        }


class Splitting:
    """Splitting and shrinkage of the features that some latent matches; samples are added block by block.

    A feature is split if several latents match it (Bricken et al. 2023, "Towards Monosemanticity"). A feature is shrunk
    if the latents that match it write less than its coefficient, as an L1 penalty causes (Wright and Sharkey 2024,
    "Addressing Feature Suppression in SAEs").

    A latent matches a feature if the cosine of its decoder column with the feature exceeds tau. The cosine is signed,
    unlike in recovery, because a non-negative latent cannot write against its column. ``W_dec`` (n_q x n_r) are decoder
    columns, ``true`` (n x n_r) the contributions of one unit of each feature to the target, not normalised.
    """

    def __init__(self, W_dec: np.ndarray, true: np.ndarray) -> None:
        cosines = normalise_rows(W_dec.astype(np.float64)) @ normalise_rows(true.astype(np.float64)).T
        latents, features = np.nonzero(recovered(cosines))
        # contribution of one unit of a latent in a feature's direction, in units of the feature
        share = cosines[latents, features] * np.linalg.norm(W_dec[latents], axis=1)
        share /= np.linalg.norm(true[features], axis=1)
        self._share = scipy.sparse.csr_array((share, (latents, features)), shape=cosines.shape)
        self._together = scipy.sparse.csr_array(self._share.shape, dtype=bool)
        self._written, self._squares = np.zeros(len(true)), np.zeros(len(true))

    def add(self, latents: scipy.sparse.csr_array, x: scipy.sparse.csr_array) -> None:
        """Add B samples: their latents (B x n_q) and their true coefficients (B x n)."""
        x = x.astype(np.float64)
        matching = self._share != 0
        self._together = self._together + ((latents > 0).T @ (x > 0)).multiply(matching).tocsr().astype(bool)
        self._written += np.asarray(x.multiply(latents @ self._share).sum(axis=0), dtype=float)
        self._squares += np.asarray(x.multiply(x).sum(axis=0), dtype=float)

    @property
    def latents(self) -> np.ndarray:
        """Number of matching latents that fire in some sample of the active feature (n integers)."""
        return np.asarray(self._together.sum(axis=0), dtype=int)

    @property
    def slopes(self) -> np.ndarray:
        """Slope of the matching latents' joint contribution on the coefficient, through the origin (n floats).

        NaN for features without such latents. The fit uses all samples of the active feature, even if no latent fires.
        The fitted line goes through the origin because an L1 penalty subtracts about the same amount from large and
        small coefficients; a line with an intercept would hide that.
        """
        is_defined = (self.latents > 0) & (self._squares > 0)
        return np.divide(self._written, self._squares, out=np.full(len(is_defined), np.nan), where=is_defined)

    def metrics(self) -> dict[str, float | None]:
        """Return ``splitting`` and ``shrinkage`` over the features that have a latent; None if no feature has one.

        ``splitting`` is the mean number of latents per feature, 1 if no feature is split. ``shrinkage`` is 1 minus the
        median slope, 0 if contributions are as large as coefficients.
        """
        has_latent = self.latents > 0
        if not has_latent.any():
            return {"splitting": None, "shrinkage": None}
        return {
            "splitting": float(self.latents[has_latent].mean()),
            "shrinkage": float(1 - np.median(self.slopes[has_latent])),
        }
