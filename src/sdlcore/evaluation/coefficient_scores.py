"""Measure detection, splitting, shrinkage and absorption by the true coefficients, in one pass over the samples."""

import numpy as np
import scipy.sparse

from sdlcore.benches.config import Hierarchy
from sdlcore.data.recovery_rule import recovered
from sdlcore.evaluation.absorption import absorption, absorption_score, match_latents
from sdlcore.evaluation.recovery import normalise_rows


class CoefficientScores:
    """Detection, splitting, shrinkage and absorption scores; samples are added block by block in the store's order.

    Parameters
    ----------
    W_dec
        n_q x n_r decoder columns, one row per latent.
    true
        n x n_r: contribution of one unit of each feature to the target, not normalised.
    x
        N x n true coefficients of the store.
    hierarchy
        Parents and children among the features; None if the bench has no hierarchy.
    signed
        Whether latents may be below zero. Splitting, shrinkage and absorption are then None: they compare latents with
        coefficients that are never negative.
    """

    def __init__(
        self,
        W_dec: np.ndarray,
        true: np.ndarray,
        x: scipy.sparse.csr_array,
        hierarchy: Hierarchy | None,
        signed: bool = False,
    ) -> None:
        self._x, self._hierarchy = x, hierarchy
        self._detection = Detection(W_dec, true)
        self._splitting = None if signed else Splitting(W_dec, true)
        squares = np.square(true).sum(axis=1)
        # an inner product with these is a number of units of the feature
        self._units = (true / squares[:, None]).T
        judged = hierarchy is not None and len(W_dec) >= len(true) and not signed
        self._feature_latents = match_latents(W_dec, (true / np.sqrt(squares)[:, None]).T) if judged else None
        self._W_dec = W_dec[self._feature_latents] if judged else None
        self._latents: list[scipy.sparse.csr_array] = []
        self._n_samples = 0

    def add(self, latents: scipy.sparse.csr_array) -> None:
        """Add the latents (B x n_q) of the next B samples."""
        stop = self._n_samples + latents.shape[0]
        x = self._x[self._n_samples : stop]
        if self._splitting is not None:
            self._splitting.add(latents, x)
        self._detection.add(latents, x)
        if self._feature_latents is not None:
            self._latents.append(latents[:, self._feature_latents])
        self._n_samples = stop

    def rarest(self) -> np.ndarray:
        """Return the indices of the quarter of features, one at least, that are active in fewest samples."""
        active = np.asarray((self._x > 0).sum(axis=0))
        return np.argsort(active, kind="stable")[: max(1, len(active) // 4)]

    def metrics(self) -> dict[str, float | None]:
        """Return the detection and splitting metrics, and ``absorption`` if there is a hierarchy.

        ``absorption`` is None with signed latents, with fewer latents than features, or if no pair has a sample.
        """
        missing: dict[str, float | None] = {"splitting": None, "shrinkage": None}
        metrics = (self._splitting.metrics() if self._splitting else missing) | self._detection.metrics()
        if self._hierarchy is None:
            return metrics
        metrics["absorption"] = None
        if self._W_dec is not None:
            latents = scipy.sparse.vstack(self._latents).tocsc()
            score = absorption_score(absorption(latents, self._x, self._W_dec, self._units, self._hierarchy))
            metrics["absorption"] = None if np.isnan(score) else score
        return metrics


class Detection:
    """F1, precision and recall of latents as detectors of their nearest features; samples are added block by block.

    The three scores are SynthSAEBench's (Chanin and Garriga-Alonso 2026, arXiv 2602.14687). Each latent is assigned to
    the feature nearest to its decoder column, and scores are means over latents. So a dictionary with fewer latents
    than features does not score lower for that, and each dead or surplus latent lowers the scores.

    Parameters
    ----------
    W_dec
        n_q x n_r decoder columns, one row per latent.
    true
        n x n_r true directions, of any norm.
    """

    def __init__(self, W_dec: np.ndarray, true: np.ndarray) -> None:
        cosines = normalise_rows(W_dec.astype(np.float64)) @ normalise_rows(true.astype(np.float64)).T
        self.features = np.abs(cosines, out=cosines).argmax(axis=1)
        """The nearest feature of each latent (n_q)."""
        self._hits, self._fired, self._active = (np.zeros(len(W_dec)) for _ in range(3))

    def add(self, latents: scipy.sparse.csr_array, x: scipy.sparse.csr_array) -> None:
        """Add B samples: their latents (B x n_q) and their true coefficients (B x n)."""
        fires, active = latents != 0, (x > 0)[:, self.features]
        self._hits += np.asarray(fires.multiply(active).sum(axis=0), dtype=float)
        self._fired += np.asarray(fires.sum(axis=0), dtype=float)
        self._active += np.asarray(active.sum(axis=0), dtype=float)

    def metrics(self) -> dict[str, float | None]:
        """Return means over latents, and ``uniqueness``: the number of distinct nearest features per latent.

        A latent that never fires has precision, recall and F1 of 0.
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


class Splitting:
    """Splitting and shrinkage of the features that some latent matches; samples are added block by block.

    A feature is split if several latents match it (Bricken et al. 2023, "Towards Monosemanticity"). A feature is shrunk
    if the latents that match it write less than its coefficient, as an L1 penalty causes (Wright and Sharkey 2024,
    "Addressing Feature Suppression in SAEs").

    A latent matches a feature if the cosine of its decoder column with the feature exceeds tau. The cosine is signed,
    unlike in recovery, because a non-negative latent cannot write against its column.

    Parameters
    ----------
    W_dec
        n_q x n_r decoder columns, one row per latent.
    true
        n x n_r: contribution of one unit of each feature to the target, not normalised.
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

        ``splitting`` is the mean number of latents per feature, 1 if none is split. ``shrinkage`` is 1 minus the median
        slope, 0 if contributions are as large as coefficients.
        """
        has_latent = self.latents > 0
        if not has_latent.any():
            return {"splitting": None, "shrinkage": None}
        return {
            "splitting": float(self.latents[has_latent].mean()),
            "shrinkage": float(1 - np.median(self.slopes[has_latent])),
        }
