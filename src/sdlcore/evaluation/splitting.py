"""Feature splitting and shrinkage: how many latents share a feature, and whether together they give its magnitude.

A feature that several latents stand for is split (Bricken et al. 2023, "Towards Monosemanticity"); latents that write
less of it than there is shrink it, as an L1 penalty makes them (Wright and Sharkey 2024, "Addressing Feature
Suppression in SAEs"). Both are told by the true coefficients, of features that some latent matches.
"""

import numpy as np
import scipy.sparse

from sdlcore.data.recovery_rule import recovered
from sdlcore.evaluation.recovery import normalise_rows


class Splitting:
    """What the latents that match features write of them, over samples that are added block by block.

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
