"""Parents and children among the features of a bench (Definition 3.9)."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Le

from sdlcore.settings import FromJson, check


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

    def __post_init__(self) -> None:
        check(self)

    @property
    def size(self) -> int:
        """How many features take part."""
        return self.parents * (1 + self.children)

    def family(self, parent: int) -> range:
        """Return the children of a parent."""
        first = self.parents + parent * self.children
        return range(first, first + self.children)
