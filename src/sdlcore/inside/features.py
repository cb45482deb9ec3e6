"""Statistics and example contexts of single latents in a language model."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sdlcore.inside.contexts import Context
from sdlcore.inside.logits import Logits

BINS = 40


class Histogram(NamedTuple):
    """Histogram of a latent's positive activations: counts in bins of equal width from zero to the largest."""

    largest: float
    counts: list[int]


class Interval(NamedTuple):
    """Some contexts of a latent whose activation is in one interval."""

    low: float
    high: float
    """The interval (low, high] of activations."""
    share: float
    """Share of the latent's active tokens whose activation is in the interval."""
    contexts: list[Context]


class Feature(NamedTuple):
    """Statistics and contexts of one latent."""

    latent: int
    density: float
    """Share of the tokens at which the latent is active."""
    histogram: Histogram | None
    """None if the latent is never active."""
    contexts: list[Context]
    """Contexts with the largest activations, most active first, one in each document."""
    intervals: list[Interval]
    """Contexts of the lower intervals, most active first. Top contexts alone make a latent look purer than it is."""
    logits: Logits | None
    """None if the dictionary does not write to the residual stream, or the model has no unembedding."""
    nearest: list[tuple[int, float]]
    """Other latents with the largest cosines between decoder rows."""


@dataclass(frozen=True)
class Features:
    """Features of several latents of one dictionary."""

    title: str
    """Name of the model and of the place in it."""
    block: int
    """The block that the dictionary writes to or after, counted from 1."""
    n_q: int
    """Number of the dictionary's latents."""
    tokens: int
    """Number of tokens read."""
    features: list[Feature]


def histogram_of(values: np.ndarray) -> Histogram | None:
    """Return the histogram of the positive activations, or None if there are none."""
    if not len(values):
        return None
    largest = float(values.max())
    counts, _ = np.histogram(values, bins=BINS, range=(0, largest))
    return Histogram(largest, counts.tolist())
