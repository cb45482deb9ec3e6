"""Feature absorption: parents whose latent is silent because their children's latents stand in for it (section 3.5).

Chanin et al. 2024 ("A is for Absorption", arXiv 2409.14507) find it in language models, where a probe stands for the
true feature; on a bench with a hierarchy the true features are there. A sample counts as absorbed in their sense where
the latent of the parent does not fire though the parent is active, and another latent makes up for it in the parent's
direction. Here it is asked of pairs, of a parent and a child of it, and of sums over the samples in which that child is
the only active one of the family, since single magnitudes scatter.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import scipy.optimize
import scipy.sparse

from sdlcore.evaluation.recovery import normalise_rows
from sdlcore.sources.bench.settings import Hierarchy

if TYPE_CHECKING:
    import pandas as pd

ABSORBED_SHARE = 0.5
"""A parent is absorbed if its own latent writes less than this share of it and a child's latent this share or more."""


class Family(NamedTuple):
    """A parent feature and its C children: the latents that match them, and how these latents respond."""

    latents: np.ndarray
    """1 + C integers: the latents of the parent and of its children."""
    directions: np.ndarray
    """(1 + C) x (1 + C): cosines of these latents' decoder columns with the directions of parent and children."""
    response: np.ndarray
    """(1 + C) x C: mean of latent times norm of its decoder column over the samples in which only that child is active,
    by the mean magnitude of that child there; NaN where there is no such sample."""


def match_latents(W_dec: np.ndarray, W: np.ndarray) -> np.ndarray:
    """Match each of n features to a latent of its own, by the largest sum of cosines with decoder columns.

    One to one, because a latent that is a child plus its parent lies as near to either, and must not count as both.
    Signed, other than recovery, because a latent is never negative: against its column it writes nothing.

    Parameters
    ----------
    W_dec
        n_q x n_r, by latent.
    W
        n_r x n true features.

    Raises
    ------
    ValueError
        If there are fewer latents than features.
    """
    if len(W_dec) < W.shape[1]:
        raise ValueError(f"{len(W_dec)} latents for {W.shape[1]} features, expected as many or more: each has its own")
    _, latent = scipy.optimize.linear_sum_assignment((normalise_rows(W_dec) @ W).T, maximize=True)
    return latent


def families(
    latents: np.ndarray, x: scipy.sparse.csr_array, W_dec: np.ndarray, W: np.ndarray, hierarchy: Hierarchy
) -> list[Family]:
    """Return the latents of each family of features, and how they respond.

    Parameters
    ----------
    latents
        N x n: activations of the features' latents, as `match_latents` has them.
    x
        N x n true coefficients.
    W_dec
        n x n_r: the decoder columns of those latents.
    W
        n_r x n true features, unit columns.
    hierarchy
        Which features are parents and children.
    """
    norms, cosines = np.linalg.norm(W_dec, axis=1), normalise_rows(W_dec) @ W
    found = []
    for parent in range(hierarchy.parents):
        members = np.array([parent, *hierarchy.family(parent)])
        response = np.full((len(members), hierarchy.children), np.nan)
        for column, rows in enumerate(_alone(x, hierarchy, parent)):
            if len(rows):
                magnitude = x[:, [members[1 + column]]].toarray()[rows].mean()
                response[:, column] = latents[np.ix_(rows, members)].mean(axis=0) * norms[members] / magnitude
        found.append(Family(members, cosines[np.ix_(members, members)], response))
    return found


def absorption(
    latents: np.ndarray | scipy.sparse.csc_array,
    x: scipy.sparse.csr_array,
    W_dec: np.ndarray,
    W: np.ndarray,
    hierarchy: Hierarchy,
) -> "pd.DataFrame":
    """Return which pairs of parent and child are absorbed.

    Parameters
    ----------
    latents, x, W_dec, W, hierarchy
        As `families` takes them; latents may be sparse.

    Returns
    -------
    DataFrame
        One row a pair, over the samples in which that child is the only active one of its family: ``parent`` and
        ``child`` (features), ``samples``, ``fires`` (share of them in which the parent's latent fires), ``own`` and
        ``carried`` (what the parent's latent and the child's write in the parent's direction, sum of latent times inner
        product, by the sum of the parent's magnitudes), ``absorbed`` (own is less than a half, carried a half or more),
        ``lost`` (both are less than a half: the dictionary does without the parent). Without such a sample the numbers
        are NaN and both verdicts False.
    """
    import pandas as pd  # only here: an evaluation that asks for none of it does not pay for loading it

    written = np.einsum("dr,rp->dp", W_dec, W[:, : hierarchy.parents])
    rows = []
    for parent in range(hierarchy.parents):
        magnitude = x[:, [parent]].toarray()[:, 0]
        own = _column(latents, parent)
        for child, alone in zip(hierarchy.family(parent), _alone(x, hierarchy, parent), strict=True):
            numbers = dict.fromkeys(("fires", "own", "carried"), np.nan)
            if len(alone):
                total = magnitude[alone].sum()
                numbers = {
                    "fires": float((own[alone] > 0).mean()),
                    "own": float(own[alone].sum() * written[parent, parent] / total),
                    "carried": float(_column(latents, child)[alone].sum() * written[child, parent] / total),
                }
            missing, stands_in = numbers["own"] < ABSORBED_SHARE, numbers["carried"] >= ABSORBED_SHARE
            verdicts = {"absorbed": missing and stands_in, "lost": missing and not stands_in}
            rows.append({"parent": parent, "child": child, "samples": len(alone), **numbers, **verdicts})
    return pd.DataFrame(rows)


def absorption_score(pairs: "pd.DataFrame") -> float:
    """Return the share of absorbed pairs among pairs with samples; NaN without any."""
    known = pairs[pairs["samples"] > 0]
    return float(known["absorbed"].mean()) if len(known) else np.nan


def _column(latents: np.ndarray | scipy.sparse.csc_array, latent: int) -> np.ndarray:
    column = latents[:, [latent]]
    return (column if isinstance(column, np.ndarray) else np.asarray(column.toarray()))[:, 0]


def _alone(x: scipy.sparse.csr_array, hierarchy: Hierarchy, parent: int) -> list[np.ndarray]:
    """Return, for each child of a parent, the samples in which it is the only active child."""
    active = x[:, list(hierarchy.family(parent))].toarray() > 0
    single = active.sum(axis=1) == 1
    return [np.flatnonzero(single & active[:, child]) for child in range(hierarchy.children)]
