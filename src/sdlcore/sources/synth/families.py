"""Nested features: families of siblings below a parent."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from sdlcore.sources.synth.settings import SynthSource


class Family(NamedTuple):
    """Features that can be active only together with their parent."""

    parent: int | None
    """The parent; None for siblings without one, which exclude each other."""
    members: tuple[int, ...]
    """The siblings."""
    exclusive: bool
    """Whether at most one of the siblings is active. Among several candidates, chance decides."""
    scaled: bool
    """Whether magnitudes are multiplied by the parent's magnitude, divided by the parent's mean."""


def families(source: SynthSource) -> Iterator[Family]:
    """Yield the families of a source's trees: features of a generation have consecutive children in the next."""
    for above, below in zip(source.levels, source.levels[1:], strict=False):
        for place, parent in enumerate(above):
            first = below.start + place * source.branching
            yield Family(parent, tuple(range(first, first + source.branching)), True, source.version == 2)


def scaled_parents(nested: Iterable[Family]) -> set[int]:
    """Return the features that scale others; their mean magnitudes must not be zero."""
    return {family.parent for family in nested if family.scaled and family.parent is not None}
