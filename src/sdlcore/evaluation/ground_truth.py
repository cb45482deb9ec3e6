"""The directions that a dictionary is judged against, and the directions among these that anchors reveal.

Only evaluation looks for the directions that anchors reveal; training and discovery never do.
"""

from typing import NamedTuple

import numpy as np

from sdlcore.benches.config import Hierarchy
from sdlcore.data.anchors import Anchors
from sdlcore.data.recovery_rule import TAU, recovered
from sdlcore.data.references import References
from sdlcore.evaluation.recovery import best_match


class GroundTruth(NamedTuple):
    """The directions that a dictionary should recover, with their facts."""

    references: References
    """A bench's true features, or class means of activations."""
    anchored: np.ndarray
    """Indices of the features that the seed's anchors reveal (`anchored_features`), whether or not this
    run uses anchors."""
    hierarchy: Hierarchy | None = None
    """Parents and children among a bench's features; None if the bench has no hierarchy."""
    anchors: Anchors | None = None
    """The anchors themselves, which need not be any of the features."""
    coefficients: bool = True
    """Whether it is known which features each sample contains, as F1 and similar metrics require."""

    @classmethod
    def of(
        cls,
        references: References,
        anchors: Anchors | None,
        hierarchy: Hierarchy | None = None,
        coefficients: bool = True,
    ) -> "GroundTruth":
        """Combine references and anchors; ``coefficients``: whether true coefficients or classes are known."""
        anchored = np.zeros(0, dtype=np.int64) if anchors is None else anchored_features(anchors, references)
        return cls(references, anchored, hierarchy, anchors, coefficients)


def near_anchors(anchors: Anchors, references: References, tau: float = TAU) -> np.ndarray:
    """Mark the reference directions whose absolute cosine with some anchor exceeds ``tau``, at some site (n bools)."""
    sites = zip(anchors.sites, references.sites, strict=False)  # anchors or references may lack the further sites
    return np.any([recovered(best_match(w, W.T).similarity, tau) for w, W in sites], axis=0)


def anchored_features(anchors: Anchors, references: References) -> np.ndarray:
    """Return the indices of the reference directions that the anchors were drawn from.

    If the anchors were not drawn from these references, return the indices of those near an anchor (`near_anchors`).
    """
    feature, n = anchors.feature, references.W_p.shape[1]
    if feature is not None and feature.max() < n and np.array_equal(references.W_p.T[feature], anchors.w_p):
        return feature
    return np.flatnonzero(near_anchors(anchors, references))
