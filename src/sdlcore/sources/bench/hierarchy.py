"""Parents and children among the features of a bench (Definition 3.9)."""

from typing import NamedTuple


class Hierarchy(NamedTuple):
    """Parents and their children among the features (Definition 3.9): a parent is active iff a child of it is.

    The first features are the parents, the next the children of the first parent, then those of the second, and so on;
    the others are on their own.
    """

    parents: int
    children: int
    """Of each parent."""

    @property
    def size(self) -> int:
        """How many features take part."""
        return self.parents * (1 + self.children)

    def family(self, parent: int) -> range:
        """Return the children of a parent."""
        first = self.parents + parent * self.children
        return range(first, first + self.children)
