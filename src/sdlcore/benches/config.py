"""Settings of benches, sources with known features.

The module does not import numpy, so that checking a configuration is fast.
"""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt

from sdlcore.settings import AsGiven, Positive, Settings, Share, Text, Total, Weight

Dimension = Annotated[int, Ge(2), Le(10**6)]
Number = Annotated[int, Ge(0), Le(10**6)]
Probability = Annotated[float, Gt(0), Le(1), AsGiven]
CONFIG, WEIGHTS, HIERARCHY = "synthetic_model_config.json", "synthetic_model.safetensors", "hierarchy.json"
"""Files that ``SyntheticModel.save`` of SAELens writes; the last one only if features are nested."""


class BenchFeatures(Settings):
    """Settings of a bench's feature matrices (Appendix C.1)."""

    max_interference: Annotated[float, Gt(0), Lt(1), AsGiven] = 0.1
    """M, the bound on inner products of features (Assumption 2.4)."""
    n: Dimension = 1000
    """Number of ground-truth features."""
    n_p: Dimension = 768
    """Dimension of the input representation."""
    n_r: Dimension | None = None
    """Dimension of a second representation of the same samples, the target of transcoders and second site of
    crosscoders; None for none."""
    seed_leak: bool = False
    """Reproduce a mistake: features start where the first latents of models start, as if both used the same seed
    (docs/paper.md)."""


class Hierarchy(Settings):
    """A hierarchy of features (Definition 3.9): a parent is active iff one of its children is.

    The first features are the parents. After the parents come the children of the first parent, the children of the
    second, and so on. All other features are independent.
    """

    parents: Annotated[int, Ge(1), Le(10**6)]
    """Number of parents."""
    children: Annotated[int, Ge(1), Le(10**6)]
    """Number of children of each parent."""

    @property
    def size(self) -> int:
        """Number of features in the hierarchy: parents and children."""
        return self.parents * (1 + self.children)

    def family(self, parent: int) -> range:
        """Return the indices of a parent's children."""
        first = self.parents + parent * self.children
        return range(first, first + self.children)


class BenchSamples(Settings):
    """Settings of a bench's samples (Appendix C.2 and C.3)."""

    train_samples: Total = 100000
    """Number of training samples (N in Table 3)."""
    test_samples: Total = 10000
    """Number of held-out samples for evaluation."""
    sparsity: Annotated[float, Ge(0), Lt(1), AsGiven] = 0.99
    """Sparsity S (Assumption 2.3): a feature is active with probability 1 - S."""
    c_min: Weight = 0.0
    """Smallest magnitude of an active feature (eq. 30)."""
    beta: Positive = 1.0
    """Scale of the exponential magnitude (eq. 30)."""
    frequency_exponent: Weight = 0.0
    """Probabilities of being active fall as this power of a feature's rank (Zipf's law), with mean 1 - S; 0 for equal
    probabilities."""
    correlation: Share = 0.0
    """Correlation of the activity of two features in a group, as a share of the largest that their probabilities allow
    (1 if they are equal)."""
    group_size: Dimension = 8
    """Number of consecutive features in a group with the given correlation."""
    noise: Weight = 0.0
    """Standard deviation of Gaussian noise on input and target, relative to the root mean square of a coordinate
    without noise."""
    hierarchy: Hierarchy | None = None
    """Hierarchy of features (Definition 3.9): a parent is active iff one of its children is; None for none."""


class BenchSource(BenchSamples, BenchFeatures):
    """A variant of the Linear Representation Bench (Appendix C)."""

    def inconsistencies(self) -> Iterator[tuple[str, str]]:
        """Yield the key and the problem of each setting that contradicts others."""
        parents, size = (self.hierarchy.parents, self.hierarchy.size) if self.hierarchy else (0, 0)
        if size > self.n:
            yield "hierarchy", f"there are {size} parents and children, but n is {self.n}; raise n"
            return
        drawn = self.n - parents
        if self.correlation and self.group_size > drawn:
            yield "group_size", f"{self.group_size} features of a group, but only {drawn} are drawn; lower it"
        try:
            zipf_probabilities(drawn, 1 - self.sparsity, self.frequency_exponent)
        except ValueError as error:
            yield "frequency_exponent", str(error)


def zipf_probabilities(n: int, mean: float, exponent: float) -> list[float]:
    """Return n probabilities proportional to (1 + index)^-exponent, whose mean is ``mean``.

    Raises
    ------
    ValueError
        If the first would exceed 1.
    """
    weights = [(1 + index) ** -exponent for index in range(n)]
    scale = mean * n / sum(weights)
    if scale > 1:
        raise ValueError(
            f"{exponent:g} makes the most frequent of {n} features active with probability {scale:.3g}, above 1, while "
            f"the average is {mean:.3g}; lower it, or raise sparsity"
        )
    return [scale * weight for weight in weights]


class SynthSource(Settings):
    """SynthSAEBench's distribution (Chanin and Garriga-Alonso 2026, arXiv 2602.14687).

    The defaults reproduce SynthSAEBench-16k, version 2, except for the numbers of samples.
    """

    n: Dimension = 16384
    """Number of ground-truth features, most frequent first."""
    n_p: Dimension = 768
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
    branching: Dimension = 4
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


class SaelensSource(Settings):
    """A synthetic model that SAELens saved (``SyntheticModel.save``)."""

    model: Text
    """Folder of the model."""
    n: Dimension
    """Number of features, num_features in SAELens."""
    n_p: Dimension
    """Dimension of samples, hidden_dim in SAELens."""
    train_samples: Total = 100000
    """Number of training samples."""
    test_samples: Total = 10000
    """Number of held-out samples for evaluation."""

    @property
    def files(self) -> list[str]:
        """The files of the model, with ``hierarchy.json`` if it exists."""
        folder = Path(self.model)
        nested = [HIERARCHY] if (folder / HIERARCHY).exists() else []
        return [str(folder / name) for name in (CONFIG, WEIGHTS, *nested)]
