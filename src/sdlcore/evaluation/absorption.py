"""Feature absorption: the latents of child features fire in place of their parent's latent (section 3.5).

Chanin et al. 2024 ("A is for Absorption", arXiv 2409.14507) measure absorption in language models, with a probe as the
true feature. On a bench with a hierarchy, the true features are known. In the sense of Chanin et al., a sample is
absorbed if the parent is active, the parent's latent does not fire, and another latent writes in the parent's
direction. This module instead reaches a verdict for each pair of a parent and its child. Single magnitudes scatter, so
the verdict uses sums over the samples with this child as the only active child of its family.
"""

import numpy as np
import scipy.optimize
import scipy.sparse

from sdlcore.benches.config import Hierarchy
from sdlcore.evaluation.recovery import normalise_rows

ABSORBED_SHARE = 0.5
"""Share of the parent that decides absorption: its own latent writes less, and a child's latent at least this much."""


class Absorption:
    """Absorption of a dictionary on a bench. Samples are added block by block.

    Each of n features is matched to a different latent, so that the sum of the cosines of features and decoder columns
    is largest. The assignment is one to one: a latent that points along child plus parent is equally near to both, and
    must not count twice. Cosines are signed, unlike in recovery, because a non-negative latent cannot write against its
    column. ``W_dec`` (n_q x n_r) are decoder columns, at least as many as features, and ``true`` (n x n_r) the
    contributions of one unit of each feature to the target, not normalised.
    """

    def __init__(self, W_dec: np.ndarray, true: np.ndarray) -> None:
        squares = np.square(true).sum(axis=1)
        # n_r x n: the inner product of column p and a contribution to the target is a number of units of feature p
        self._units = (true / squares[:, None]).T
        unit_features = (true / np.sqrt(squares)[:, None]).T
        _, self._matched = scipy.optimize.linear_sum_assignment(
            (normalise_rows(W_dec) @ unit_features).T, maximize=True
        )
        self._W_dec, self._latents = W_dec[self._matched], list[scipy.sparse.csr_array]()

    def add(self, latents: scipy.sparse.csr_array) -> None:
        """Add the latents (B x n_q) of the next B samples."""
        self._latents.append(latents[:, self._matched])

    def score(self, x: scipy.sparse.csr_array, hierarchy: Hierarchy) -> float | None:
        """Return the share of absorbed pairs of parent and child, from true coefficients (N x n).

        A pair has the samples with that child as the only active one of its family. It is absorbed if, in these
        samples, the parent's latent contributes less than half of the parent's magnitudes in the parent's direction,
        and the child's latent at least half. None if no pair has a sample.
        """
        latents = scipy.sparse.vstack(self._latents).tocsc()
        written = np.einsum("dr,rp->dp", self._W_dec, self._units[:, : hierarchy.parents])
        absorbed: list[bool] = []
        for parent in range(hierarchy.parents):
            family = list(hierarchy.family(parent))
            active, magnitudes = x[:, family].toarray() > 0, x[:, [parent]].toarray()[:, 0]
            single = active.sum(axis=1) == 1
            for place, child in enumerate(family):
                alone = active[:, place] & single
                if alone.any():
                    total = magnitudes[alone].sum()
                    own, carried = (
                        latents[:, [latent]].toarray()[alone, 0].sum() * written[latent, parent] / total
                        for latent in (parent, child)
                    )
                    absorbed.append(own < ABSORBED_SHARE <= carried)
        return float(np.mean(absorbed)) if absorbed else None
