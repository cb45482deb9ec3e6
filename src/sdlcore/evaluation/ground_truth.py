"""The directions that a dictionary is judged against, and the directions among these that anchors reveal."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sdlcore.data.anchors import Anchors
from sdlcore.data.pairs import all_sites
from sdlcore.data.references import References
from sdlcore.evaluation.anchor_overlap import anchored_features
from sdlcore.sources.bench.settings import Hierarchy


class GroundTruth(NamedTuple):
    """The directions that a dictionary should recover: a bench's true features, or class means of activations."""

    W_p: np.ndarray
    """n_p x n, unit columns."""
    W_r: np.ndarray | None
    """n_r x n, unit columns."""
    anchored: np.ndarray
    """Indices of the features that the seed's anchors reveal (`anchor_overlap.anchored_features`), whether or not this
    run uses anchors."""
    classes: np.ndarray | None = None
    """Class whose mean each direction is (n integers); None if the directions are not class means."""
    class_names: Sequence[str] | None = None
    """Class names, used to match the samples' labels (`data.references.labels_by`)."""
    hierarchy: Hierarchy | None = None
    """Parents and children among a bench's features; None if the bench has no hierarchy."""
    anchors: Anchors | None = None
    """The anchors themselves, which need not be any of the features."""
    coefficients: bool = True
    """Whether it is known which features each sample contains, as F1 and similar metrics require."""
    more: tuple[np.ndarray, ...] = ()
    """Width x n at each further site, from site 2 on."""

    @property
    def sites(self) -> tuple[np.ndarray, ...]:
        """The directions at each site (width x n); zero where a feature does not occur."""
        return all_sites(self.W_p, self.W_r, self.more)

    @classmethod
    def of(
        cls, references: References, anchors: Anchors | None, hierarchy: Hierarchy | None = None, known: bool = True
    ) -> "GroundTruth":
        """Combine references and anchors; ``known`` is true if the samples' true coefficients or classes are known."""
        anchored = np.zeros(0, dtype=np.int64) if anchors is None else anchored_features(anchors, references)
        W_p, W_r, classes, names, _, more = references
        return cls(W_p, W_r, anchored, classes, names, hierarchy, anchors, known, more)
