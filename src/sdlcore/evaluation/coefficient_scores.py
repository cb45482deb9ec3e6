"""Measure detection, splitting, shrinkage and absorption by the true coefficients, in one pass over the samples."""

import numpy as np
import scipy.sparse

from sdlcore.data.recovery_rule import recovered
from sdlcore.evaluation.absorption import absorption, absorption_score, match_latents
from sdlcore.evaluation.recovery import normalise_rows
from sdlcore.sources.bench.settings import Hierarchy


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
        self._latents: list[scipy.sparse.csr_array] = []
        self._seen = 0

    def add(self, latents: scipy.sparse.csr_array) -> None:
        """Take the latents (B x n_q) of the next B samples."""
        stop = self._seen + latents.shape[0]
        x = self._x[self._seen : stop]
        self._splitting.add(latents, x)
        self._detection.add(latents, x)
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
            latents = scipy.sparse.vstack(self._latents).tocsc()
            score = absorption_score(absorption(latents, self._x, self._W_dec, self._units, self._hierarchy))
            metrics["absorption"] = None if np.isnan(score) else score
        return metrics


class Detection:
    """How well each latent tells whether its feature is active, over samples that are added block by block.

    SynthSAEBench's scores (Chanin and Garriga-Alonso 2026, arXiv 2602.14687). Each latent is taken for the feature that
    its decoder column is nearest to, and all latents count alike. So a dictionary that is narrower than the number of
    features loses nothing by it, and each dead or surplus latent costs.

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


class Splitting:
    """What the latents that match features write of them, over samples that are added block by block.

    A feature that several latents stand for is split (Bricken et al. 2023, "Towards Monosemanticity"); latents that
    write less of it than there is shrink it, as an L1 penalty makes them (Wright and Sharkey 2024, "Addressing Feature
    Suppression in SAEs"). Both are told of features that some latent matches.

    A latent matches a feature where the cosine of its decoder column with it exceeds tau. Signed, other than recovery:
    against its column a latent, which is never negative, writes nothing.

    Parameters
    ----------
    W_dec
        n_q x n_r, by latent.
    true
        n x n_r: what one unit of each feature is in the target, not normalised.
    """

    def __init__(self, W_dec: np.ndarray, true: np.ndarray) -> None:
        cosines = normalise_rows(W_dec.astype(np.float64)) @ normalise_rows(true.astype(np.float64)).T
        latents, features = np.nonzero(recovered(cosines))
        # what one unit of a latent writes in a feature's direction, in units of the feature
        share = cosines[latents, features] * np.linalg.norm(W_dec[latents], axis=1)
        share /= np.linalg.norm(true[features], axis=1)
        self._share = scipy.sparse.csr_array((share, (latents, features)), shape=cosines.shape)
        self._together = scipy.sparse.csr_array(self._share.shape, dtype=bool)
        self._written, self._squares = np.zeros(len(true)), np.zeros(len(true))

    def add(self, latents: scipy.sparse.csr_array, x: scipy.sparse.csr_array) -> None:
        """Take B samples: their latents (B x n_q) and their true coefficients (B x n)."""
        x = x.astype(np.float64)
        matching = self._share != 0
        self._together = self._together + ((latents > 0).T @ (x > 0)).multiply(matching).tocsr().astype(bool)
        self._written += np.asarray(x.multiply(latents @ self._share).sum(axis=0), dtype=float)
        self._squares += np.asarray(x.multiply(x).sum(axis=0), dtype=float)

    @property
    def latents(self) -> np.ndarray:
        """How many latents that match each feature fire in some sample in which it is active (n integers)."""
        return np.asarray(self._together.sum(axis=0), dtype=int)

    @property
    def slopes(self) -> np.ndarray:
        """Return the slope through the origin of what they write together on the coefficient (n; NaN without any).

        Over the samples in which the feature is active, whether they fire or not. Through the origin, since what an L1
        penalty takes off is about as much from large coefficients as from small ones, which no other slope would show.
        """
        known = (self.latents > 0) & (self._squares > 0)
        return np.divide(self._written, self._squares, out=np.full(len(known), np.nan), where=known)

    def metrics(self) -> dict[str, float | None]:
        """Return ``splitting`` and ``shrinkage`` of the features that have a latent; None where none has.

        ``splitting`` is the mean number of latents of a feature, 1 where none is split; ``shrinkage`` 1 less the median
        slope, 0 where contributions are as large as coefficients.
        """
        found = self.latents > 0
        if not found.any():
            return {"splitting": None, "shrinkage": None}
        return {"splitting": float(self.latents[found].mean()), "shrinkage": float(1 - np.median(self.slopes[found]))}
