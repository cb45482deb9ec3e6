"""Feature absorption: the latents of child features fire in place of their parent's latent (section 3.5).

Chanin et al. 2024 ("A is for Absorption", arXiv 2409.14507) measure absorption in language models, with a probe as the
true feature. On a bench with a hierarchy, the true features are known. In the sense of Chanin et al., a sample is
absorbed if the parent is active, the parent's latent does not fire, and another latent writes in the parent's
direction. This module instead reaches a verdict for each pair of a parent and its child. The verdict uses sums over the
samples in which this child is the only active child of its family, because single magnitudes scatter.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import scipy.optimize
import scipy.sparse

from sdlcore.benches.config import Hierarchy
from sdlcore.evaluation.recovery import normalise_rows

if TYPE_CHECKING:
    import pandas as pd

ABSORBED_SHARE = 0.5
"""Share of the parent that decides absorption: its own latent writes less, and a child's latent at least this much."""


def match_latents(W_dec: np.ndarray, W: np.ndarray) -> np.ndarray:
    """Match each of n features to a different latent; maximise the sum of cosines of features and decoder columns.

    The assignment is one to one: a latent that points along child plus parent is equally near to both, and must not
    count twice. Cosines are signed, unlike in recovery, because a non-negative latent cannot write against its column.

    Parameters
    ----------
    W_dec
        n_q x n_r decoder columns, one row per latent.
    W
        n_r x n true features.
    """
    _, latent = scipy.optimize.linear_sum_assignment((normalise_rows(W_dec) @ W).T, maximize=True)
    return latent


def absorption(
    latents: np.ndarray | scipy.sparse.csc_array,
    x: scipy.sparse.csr_array,
    W_dec: np.ndarray,
    W: np.ndarray,
    hierarchy: Hierarchy,
) -> dict[str, np.ndarray]:
    """Return for each pair of parent and child whether the child's latent absorbs the parent.

    Parameters
    ----------
    latents
        N x n: activations of the features' latents, in the order of `match_latents`; may be sparse.
    x
        N x n true coefficients.
    W_dec
        n x n_r: the decoder columns of those latents.
    hierarchy
        Which features are parents and children.
    W
        n_r x n; the inner product of column p and a contribution to the target is a number of units of feature p. For
        true features of norm 1, these are the features; for others, the features divided by their squared norms.

    Returns
    -------
    dict of arrays
        An array for each column of a table with one row per pair, over samples with that child as the only active one
        of its family: ``parent`` and ``child`` (features), ``samples`` (their number), ``fires`` (share of samples that
        activate the parent's latent), ``own`` and ``carried`` (contributions of the parent's and the child's latent in
        the parent's direction, as a share of the parent's magnitudes), ``absorbed`` (own below a half, carried at least
        a half), ``lost`` (both below a half: the dictionary misses the parent). Without samples, the numbers are NaN
        and both verdicts False.
    """
    written = np.einsum("dr,rp->dp", W_dec, W[:, : hierarchy.parents])
    rows: list[dict[str, float]] = []
    for parent in range(hierarchy.parents):
        magnitude = x[:, [parent]].toarray()[:, 0]
        parent_latent = _column(latents, parent)
        for child, alone in zip(hierarchy.family(parent), _alone(x, hierarchy, parent), strict=True):
            numbers = dict.fromkeys(("fires", "own", "carried"), np.nan)
            if len(alone):
                total = magnitude[alone].sum()
                numbers = {
                    "fires": float((parent_latent[alone] > 0).mean()),
                    "own": float(parent_latent[alone].sum() * written[parent, parent] / total),
                    "carried": float(_column(latents, child)[alone].sum() * written[child, parent] / total),
                }
            missing, stands_in = numbers["own"] < ABSORBED_SHARE, numbers["carried"] >= ABSORBED_SHARE
            verdicts = {"absorbed": missing and stands_in, "lost": missing and not stands_in}
            rows.append({"parent": parent, "child": child, "samples": len(alone), **numbers, **verdicts})
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


class Absorption:
    """Absorption of a dictionary on a bench. Samples are added block by block.

    Parameters
    ----------
    W_dec
        n_q x n_r decoder columns, one row per latent; at least as many as features.
    true
        n x n_r: contribution of one unit of each feature to the target, not normalised.
    """

    def __init__(self, W_dec: np.ndarray, true: np.ndarray) -> None:
        squares = np.square(true).sum(axis=1)
        # an inner product with these is a number of units of the feature
        self._units = (true / squares[:, None]).T
        self._matched = match_latents(W_dec, (true / np.sqrt(squares)[:, None]).T)
        self._W_dec, self._latents = W_dec[self._matched], list[scipy.sparse.csr_array]()

    def add(self, latents: scipy.sparse.csr_array) -> None:
        """Add the latents (B x n_q) of the next B samples."""
        self._latents.append(latents[:, self._matched])

    def score(self, x: scipy.sparse.csr_array, hierarchy: Hierarchy) -> float | None:
        """Return the score by the samples' true coefficients (N x n); None if no pair has a sample."""
        latents = scipy.sparse.vstack(self._latents).tocsc()
        score = absorption_score(absorption(latents, x, self._W_dec, self._units, hierarchy))
        return None if np.isnan(score) else score


def absorption_score(pairs: "Mapping[str, np.ndarray] | pd.DataFrame") -> float:
    """Return the share of absorbed pairs among pairs with samples; NaN without any. ``pairs`` as from `absorption`."""
    absorbed = np.asarray(pairs["absorbed"])[np.asarray(pairs["samples"]) > 0]
    return float(absorbed.mean()) if len(absorbed) else np.nan


def _column(latents: np.ndarray | scipy.sparse.csc_array, latent: int) -> np.ndarray:
    column = latents[:, [latent]]
    return (column if isinstance(column, np.ndarray) else np.asarray(column.toarray()))[:, 0]


def _alone(x: scipy.sparse.csr_array, hierarchy: Hierarchy, parent: int) -> list[np.ndarray]:
    """Return each child's samples, where it is the only active child of its parent."""
    active = x[:, list(hierarchy.family(parent))].toarray() > 0
    single = active.sum(axis=1) == 1
    return [np.flatnonzero(single & active[:, child]) for child in range(hierarchy.children)]
