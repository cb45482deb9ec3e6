"""Draw the features and the distribution of a source from its seed."""

from collections.abc import Iterator
from typing import NamedTuple, Self

import numpy as np

from sdlcore.random_streams import stream
from sdlcore.sources.bench.samples import Samples
from sdlcore.sources.synth.directions import directions
from sdlcore.sources.synth.distribution import Distribution, draw_distribution, families
from sdlcore.sources.synth.sampler import Sampler, draw_samples
from sdlcore.sources.synth.settings import SynthSource


class World(NamedTuple):
    """Features, and the distribution of their coefficients."""

    source: SynthSource
    seed: int
    W_p: np.ndarray
    """n_p x n unit features, float32."""
    distribution: Distribution

    @classmethod
    def draw(cls, source: SynthSource, seed: int) -> Self:
        """Draw the features and the distribution. Both versions of a source have the same ones."""
        directed = stream(seed, "synth", "directions")
        W_p = directions(source.n, source.n_p, source.orthogonal_steps, source.orthogonal_rate, directed)
        return cls(source, seed, W_p, draw_distribution(source, stream(seed, "synth", "law")))

    def sampler(self, part: str) -> Sampler:
        """Return the sampler of a part; the pipeline uses the parts ``train`` and ``test``."""
        return Sampler(self.distribution, families(self.source), stream(self.seed, "synth", part))

    def draw_samples(self, part: str, n_samples: int) -> Iterator[Samples]:
        """Yield the first samples of a part in blocks."""
        return draw_samples(self.sampler(part), self.W_p, self.distribution.bias, n_samples)
