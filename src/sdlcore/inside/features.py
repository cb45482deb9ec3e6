"""What is known of single latents of a dictionary in a language model."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sdlcore.inside.contexts import Context
from sdlcore.inside.logits import Logits

BINS = 40


class Histogram(NamedTuple):
    """How large a latent is where it is active: counts in bins of equal width from zero to the largest activation."""

    largest: float
    counts: list[int]


class Interval(NamedTuple):
    """Some contexts of a latent by how active it is."""

    low: float
    high: float
    """Activations in (low, high]."""
    share: float
    """Of the tokens at which it is active."""
    contexts: list[Context]


class Feature(NamedTuple):
    """One latent."""

    latent: int
    density: float
    """Share of the tokens at which it is active."""
    histogram: Histogram | None
    """None where it is nowhere active."""
    contexts: list[Context]
    """Most active first, one a document."""
    intervals: list[Interval]
    """Below the top, the most active first: top contexts alone make a latent look purer than it is."""
    logits: Logits | None
    """None where the dictionary does not write to the residual stream, or the model has no unembedding."""
    nearest: list[tuple[int, float]]
    """Other latents by the cosine of their decoder rows."""


@dataclass(frozen=True)
class Features:
    """Some latents of a dictionary."""

    title: str
    """Of the model and the place in it."""
    block: int
    """After or in which the dictionary writes, counted from 1."""
    n_q: int
    """Latents of the dictionary."""
    tokens: int
    """Tokens that were looked at."""
    features: list[Feature]


def histogram_of(values: np.ndarray) -> Histogram | None:
    """Return the histogram of positive activations; None without any."""
    if not len(values):
        return None
    largest = float(values.max())
    counts, _ = np.histogram(values, bins=BINS, range=(0, largest))
    return Histogram(largest, counts.tolist())
