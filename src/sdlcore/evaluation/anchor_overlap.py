"""Find the reference directions that anchors reveal. Only evaluation looks for such directions; training and discovery
never do."""

from typing import NamedTuple

import numpy as np

from sdlcore.data.anchors import Anchors
from sdlcore.data.pairs import make_direction_pair
from sdlcore.data.recovery_rule import TAU, recovered
from sdlcore.data.references import References
from sdlcore.evaluation.recovery import best_match, normalise_rows
from sdlcore.model.coder import SparseCoder


class Best(NamedTuple):
    """Best absolute cosine of each of n reference directions with a row of the encoder or a column of the decoder."""

    encoder: np.ndarray
    decoder: np.ndarray


def near_anchors(anchors: Anchors, references: References, tau: float = TAU) -> np.ndarray:
    """Mark the reference directions that have an anchor within ``tau``, at some site.

    Returns
    -------
    n booleans.
    """
    sites = zip(anchors.sites, references.sites, strict=False)  # one of them may lack the further sites
    return np.any([recovered(best_match(w, W.T).similarity, tau) for w, W in sites], axis=0)


def anchored_features(anchors: Anchors, references: References) -> np.ndarray:
    """Return the indices of the reference directions that the anchors were drawn from.

    If the anchors were not drawn from these references, return the indices of those near an anchor (`near_anchors`).
    """
    feature, n = anchors.feature, references.W_p.shape[1]
    if feature is not None and feature.max() < n and np.array_equal(references.W_p.T[feature], anchors.w_p):
        return feature
    return np.flatnonzero(near_anchors(anchors, references))


def best_cosines(model: SparseCoder, references: References) -> Best:
    """Return each reference direction's best cosine with an encoder row, and with a decoder column."""
    true_p, true_r = make_direction_pair(model.config.pair, *(W.T for W in references.sites))
    sides = ((model.W_enc, true_p), (model.W_dec, true_r))
    return Best(*(best_match(normalise_rows(W.detach().numpy()), true).similarity for W, true in sides))
