"""Settings of a bench with SynthSAEBench's distribution.

The module does not import numpy, so that checking a configuration is fast.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated

from annotated_types import Ge, Gt, Le

from sdlcore.settings import AsGiven, Positive, Settings, Total, Weight

Number = Annotated[int, Ge(0), Le(10**6)]
Size = Annotated[int, Ge(2), Le(10**6)]
Probability = Annotated[float, Gt(0), Le(1), AsGiven]


class SynthSource(Settings):
    """SynthSAEBench's distribution (Chanin and Garriga-Alonso 2026, arXiv 2602.14687).

    The defaults reproduce SynthSAEBench-16k, version 2, except for the numbers of samples.
    """

    n: Size = 16384
    """Number of ground-truth features, most frequent first."""
    n_p: Size = 768
    """Dimension of samples."""
    train_samples: Total = 100000
    """Number of training samples."""
    test_samples: Total = 10000
    """Number of held-out samples for evaluation."""
    exponent: Weight = 0.5
    """Frequencies fall as this power of a feature's rank (Zipf's law), rescaled to run from max_frequency to
    min_frequency."""
    max_frequency: Probability = 0.4
    """Frequency of the first feature."""
    min_frequency: Probability = 5e-4
    """Frequency of the last feature."""
    roots: Number = 128
    """Number of trees, whose roots are the first features; 0 for no hierarchy. Features after the trees are
    independent."""
    branching: Size = 4
    """Number of children of each inner node. At most one sibling is active in a sample, and only if the parent is."""
    depth: Annotated[int, Ge(1), Le(20)] = 3
    """Generations below a root."""
    rank: Number = 25
    """Number of shared factors, which correlate the activity of features; 0 for independent features."""
    correlation: Weight = 0.1
    """Standard deviation of a feature's weight on a factor."""
    first_magnitude: Positive = 5.0
    """Mean magnitude of the first feature; means fall linearly to last_magnitude."""
    last_magnitude: Positive = 4.0
    """Mean magnitude of the last feature."""
    deviation: Weight = 0.5
    """Mean of a normal distribution; its absolute draws, one per feature, are the standard deviations of magnitudes."""
    deviation_spread: Weight = 0.5
    """Standard deviation of the normal distribution of deviation."""
    bias: Weight = 0.5
    """Norm of a constant vector that is added to every sample."""
    orthogonal_steps: Annotated[int, Ge(0), Le(10**6)] = 100
    """Number of Adam steps that make random feature directions more orthogonal; 0 leaves them random."""
    orthogonal_rate: Positive = 3e-4
    """Learning rate of these steps."""
    version: Annotated[int, Ge(1), Le(2)] = 2
    """Version of SynthSAEBench. In version 2, a child's magnitude is multiplied by its parent's magnitude divided by
    the parent's mean. In version 1, which was uploaded by mistake and is easier, children do not scale with parents."""

    @property
    def levels(self) -> list[range]:
        """The features of each generation of the trees, roots first; empty without roots."""
        ends = [0]
        for generation in range(self.depth + 1 if self.roots else 0):
            ends.append(ends[-1] + self.roots * self.branching**generation)
        return [range(*bounds) for bounds in pairwise(ends)]

    def inconsistencies(self) -> Iterator[tuple[str, str]]:
        """Yield the key and the problem of each setting that contradicts others."""
        if self.levels and self.levels[-1].stop > self.n:
            yield "roots", f"the trees have {self.levels[-1].stop} features, but n is {self.n}; lower roots or raise n"
        if self.min_frequency > self.max_frequency:
            yield "min_frequency", f"{self.min_frequency:g} exceeds max_frequency {self.max_frequency:g}; lower it"
