"""The directions that a dictionary is judged against, and which of them anchors give away."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sdlcore.data.anchors import Anchors
from sdlcore.data.references import References
from sdlcore.evaluation.anchor_overlap import anchored_features
from sdlcore.sources.bench.settings import Hierarchy


class GroundTruth(NamedTuple):
    """The directions that a model is judged against: a bench's true features, or the means of classes."""

    W_p: np.ndarray
    """n_p x n, unit columns."""
    W_r: np.ndarray | None
    """n_r x n, unit columns."""
    anchored: np.ndarray
    """Indices of the features that the seed's anchors give away (`anchor_overlap.anchored_features`), whether or not
    this run has anchors."""
    classes: np.ndarray | None = None
    """Which class each is the mean of (n), where they are means of classes."""
    class_names: Sequence[str] | None = None
    """Their names, by which samples say their classes (`data.references.labels_by`)."""
    hierarchy: Hierarchy | None = None
    """Parents and children among a bench's features, where it has them."""
    anchors: Anchors | None = None
    """The anchors themselves, where they are not those features."""
    coefficients: bool = True
    """Whether samples say which of the features they have, which F1 and its like need."""

    @classmethod
    def of(
        cls, references: References, anchors: Anchors | None, hierarchy: Hierarchy | None = None, known: bool = True
    ) -> "GroundTruth":
        """Return references, some of which ``anchors`` give away; ``known`` says whether samples have coefficients."""
        given = np.zeros(0, dtype=np.int64) if anchors is None else anchored_features(anchors, references)
        W_p, W_r, classes, names, _ = references
        return cls(W_p, W_r, given, classes, names, hierarchy, anchors, known)
