"""The interface of benches: true features, and samples of them."""

from typing import Any, Literal, NamedTuple

import numpy as np
from scipy.sparse import csr_array

from sdlcore.benches.config import BenchSource, Hierarchy, SynthSource
from sdlcore.data.anchors import Anchors
from sdlcore.data.references import References

Part = Literal["train", "test"]


class Samples(NamedTuple):
    """Samples of a bench."""

    input: np.ndarray
    """N x n_p, float32."""
    target: np.ndarray | None
    """N x n_r, float32; None if the bench has only one representation."""
    features: csr_array
    """N x n coefficients."""


class KnownFeatures:
    """A bench: true features, and samples of them."""

    settings: BenchSource | SynthSource
    seed: int
    W_p: np.ndarray
    """n_p x n features."""
    W_r: np.ndarray | None = None
    """n_r x n features; None if there is only one representation."""
    hierarchy: Hierarchy | None = None
    """Parents and children among the features, for the metric ``absorption``; None if there are none."""

    @property
    def references(self) -> References:
        """The true features of input and target, in the form that `evaluate` takes."""
        return References(self.W_p) if self.W_r is None else References(self.W_p, self.W_r)

    def samples(self, n_samples: int, part: Part = "train") -> Samples:
        """Return samples with their coefficients: ``input``, ``target`` (None without ``n_r``) and ``features``."""
        raise NotImplementedError

    def sample(self, n_samples: int | None = None, part: Part = "train") -> Any:
        """Return samples without coefficients: an N x n_p array, or input and target if the bench has ``n_r``.

        Parameters as in `samples`; the default number of samples is the setting ``train_samples``.
        """
        samples = self.samples(self.settings.train_samples if n_samples is None else n_samples, part)
        return samples.input if samples.target is None else (samples.input, samples.target)

    def anchors(self, n_anchors: float, seed: int | None = None) -> Anchors:
        """Draw true features at random as anchors (eq. 21).

        Parameters
        ----------
        n_anchors
            Number of anchors, or a share of all features if below 1.
        seed
            Seed of the draw; None for the bench's seed.
        """
        return self.references.choose(n_anchors, self.seed if seed is None else seed)
