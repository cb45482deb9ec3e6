"""Settings of a bench: its feature matrices and its samples. Without numpy: configurations are checked by them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt

from sdlcore.settings import FromJson, Positive, Share, Total, Weight

Dimension = Annotated[int, Ge(2), Le(10**6)]


@dataclass(frozen=True)
class FeatureMatrixConfig(FromJson):
    """Settings of projected gradient descent (eq. 26-28)."""

    max_interference: Annotated[float, Gt(0), Lt(1)] = 0.1
    """M, the bound on inner products of features (Assumption 2.4)."""
    bound: Literal["signed", "absolute"] = "signed"
    """What M bounds: the signed inner product, as in the paper, or its absolute value."""
    learning_rate: Positive = 0.1
    """Step eta of projected gradient descent (eq. 28). Large steps collapse features onto each other, which is an
    error."""
    max_iterations: Total = 1000
    """Give up with an error after this many steps of eq. 28."""


@dataclass(frozen=True)
class BenchFeatures(FeatureMatrixConfig):
    """Settings of a bench's feature matrices (Appendix C.1)."""

    n: Dimension = 1000
    """Number of ground-truth features."""
    n_p: Dimension = 768
    """Dimension of the input representation."""
    n_r: Dimension | None = None
    """Dimension of a second representation of the same features, the target of transcoders and second site of
    crosscoders; None for none."""
    seed_leak: bool = False
    """A mistake on purpose: features start where the first latents of models do, as if both were seeded alike
    (docs/verdicts.md)."""


@dataclass(frozen=True)
class Hierarchy(FromJson):
    """Parents and their children among the features (Definition 3.9): a parent is active iff a child of it is.

    The first features are the parents, the next the children of the first parent, then those of the second, and so on;
    the others are on their own.
    """

    parents: Annotated[int, Ge(1), Le(10**6)]
    """The first features."""
    children: Annotated[int, Ge(1), Le(10**6)]
    """Children of each, the features that follow, family by family."""

    @property
    def size(self) -> int:
        """How many features take part."""
        return self.parents * (1 + self.children)

    def family(self, parent: int) -> range:
        """Return the children of a parent."""
        first = self.parents + parent * self.children
        return range(first, first + self.children)


@dataclass(frozen=True)
class BenchSamples(FromJson):
    """Settings of a bench's samples (Appendix C.2 and C.3)."""

    train_samples: Total = 100000
    """N of Table 3."""
    test_samples: Total = 10000
    """Samples for evaluation that training does not see."""
    sparsity: Annotated[float, Ge(0), Lt(1)] = 0.99
    """S of Assumption 2.3; a feature is active with probability 1 - S."""
    c_min: Weight = 0.0
    """Smallest magnitude of an active feature (eq. 30)."""
    beta: Positive = 1.0
    """Scale of the exponential magnitude (eq. 30)."""
    frequency_exponent: Weight = 0.0
    """Features are active with probabilities that fall as this power of their place (Zipf's law), their mean being 1 -
    S; 0 for all alike."""
    correlation: Share = 0.0
    """Correlation of the activity of two features of a group, as a share of the largest that their probabilities allow
    (1 where they are alike)."""
    group_size: Dimension = 8
    """Features of a group that correlation is for: the first ones, then the next, and so on."""
    noise: Weight = 0.0
    """Standard deviation of Gaussian noise on input and target, as a share of the root mean square of a coordinate
    without it."""
    hierarchy: Hierarchy | None = None
    """Parents and their children among the features (Definition 3.9), a parent being active iff a child of it is; None
    for none."""


@dataclass(frozen=True)
class BenchSource(BenchSamples, BenchFeatures):
    """A variant of the Linear Representation Bench (Appendix C)."""

    def inconsistencies(self) -> Iterator[tuple[str, str]]:
        """Yield the key and the problem of each setting that does not go with the others."""
        parents, size = (self.hierarchy.parents, self.hierarchy.size) if self.hierarchy else (0, 0)
        if size > self.n:
            yield "hierarchy", f"{size} parents and children, but n is {self.n}; raise n"
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
            f"{exponent:g} makes the most frequent of {n} features active with probability {scale:.3g}, where all are "
            f"with {mean:.3g} on average; lower it, or raise sparsity"
        )
    return [scale * weight for weight in weights]
