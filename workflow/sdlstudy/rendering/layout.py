"""The rows of a table over runs: its points, methods, anchorings, protocols and seeds."""

from typing import NamedTuple


class Point(NamedTuple):
    """One value of a table's sweep, and the variants of the table's source and methods that have it."""

    value: float | None
    """The value of the swept parameter; None if the table sweeps none."""
    paper_value: float | None
    """The value of the paper's table whose numbers are shown beside ours."""
    source: str
    """The source of the runs: the table's, or its variant with the value."""
    methods: dict[str, str]
    """Method or null baseline of the table -> the method of the runs, which may be a variant."""


class Layout(NamedTuple):
    """The rows of a table, in order: points, methods, null baselines, anchorings, protocols and seeds."""

    parameter: str | None
    points: list[Point]
    methods: list[str]
    nulls: list[tuple[str, str]]
    """Null baselines, each with a protocol. They run only without anchors."""
    anchorings: list[str]
    protocols: list[str]
    seeds: list[int]

    def is_null(self, method: str) -> bool:
        """Return whether a method is a null baseline."""
        return any(method == null for null, _ in self.nulls)
