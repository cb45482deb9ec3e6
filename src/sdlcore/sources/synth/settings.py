"""Settings of a bench with the distribution of SynthSAEBench. Without numpy: configurations are checked by them."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

from annotated_types import Ge, Gt, Le

from sdlcore.settings import FromJson, Positive, Total, Weight

Number = Annotated[int, Ge(0), Le(10**6)]
Size = Annotated[int, Ge(2), Le(10**6)]
Probability = Annotated[float, Gt(0), Le(1)]


@dataclass(frozen=True)
class SynthSource(FromJson):
    """SynthSAEBench's distribution (Chanin and Garriga-Alonso 2026, arXiv 2602.14687).

    The defaults are those of SynthSAEBench-16k (version 2, whose children scale with their parents), but for the
    numbers of samples.
    """

    n: Size = 16384
    """Number of ground-truth features. The first are the most frequent."""
    n_p: Size = 768
    """Dimension of samples."""
    train_samples: Total = 100000
    """Samples for training."""
    test_samples: Total = 10000
    """Samples for evaluation that training does not see."""
    exponent: Weight = 0.5
    """Frequencies fall as this power of a feature's place (Zipf's law), stretched to run from max_frequency to
    min_frequency."""
    max_frequency: Probability = 0.4
    """Frequency of the first feature."""
    min_frequency: Probability = 5e-4
    """Frequency of the last feature."""
    roots: Number = 128
    """The first features, each the root of a tree; 0 for no hierarchy. Features after the trees are on their own."""
    branching: Size = 4
    """Children of a feature that has children. At most one of them is active in a sample, and only where their parent
    is."""
    depth: Annotated[int, Ge(1), Le(20)] = 3
    """Generations below a root."""
    rank: Number = 25
    """Factors that features share, which make them fire together, or apart; 0 for independent ones."""
    correlation: Weight = 0.1
    """Standard deviation of a feature's weight on a factor."""
    first_magnitude: Positive = 5.0
    """Mean magnitude of the first feature; those between lie on a line."""
    last_magnitude: Positive = 4.0
    """Mean magnitude of the last feature."""
    deviation: Weight = 0.5
    """A feature's magnitude has a standard deviation |d|, with d drawn once from a normal distribution of this mean."""
    deviation_spread: Weight = 0.5
    """Standard deviation of d."""
    bias: Weight = 0.5
    """Norm of a vector that is added to every sample."""
    orthogonal_steps: Annotated[int, Ge(0), Le(10**6)] = 100
    """Steps of Adam that push random directions of features apart; 0 leaves them random."""
    orthogonal_rate: Positive = 3e-4
    """Learning rate of these steps."""

    @property
    def levels(self) -> list[range]:
        """The features of each generation of the trees, roots first; none without roots."""
        ends = [0]
        for generation in range(self.depth + 1 if self.roots else 0):
            ends.append(ends[-1] + self.roots * self.branching**generation)
        return [range(*bounds) for bounds in pairwise(ends)]

    def inconsistencies(self) -> Iterator[tuple[str, str]]:
        """Yield the key and the problem of each setting that does not go with the others."""
        if self.levels and self.levels[-1].stop > self.n:
            yield "roots", f"the trees have {self.levels[-1].stop} features, but n is {self.n}; lower roots or raise n"
        if self.min_frequency > self.max_frequency:
            yield "min_frequency", f"{self.min_frequency:g} exceeds max_frequency {self.max_frequency:g}; lower it"
