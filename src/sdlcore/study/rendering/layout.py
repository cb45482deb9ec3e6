"""The rows of a table over runs: its points, methods, anchorings, protocols and seeds."""

from typing import NamedTuple


class Point(NamedTuple):
    """One value of a table's sweep, and what stands there in the place of the table's source and methods."""

    value: float | None
    """The swept parameter; None where a table sweeps none."""
    paper_value: float | None
    """The value of the paper's table whose numbers stand beside."""
    source: str
    """Where the runs' activations come from."""
    methods: dict[str, str]
    """Each of the table's methods and null baselines -> that of the runs."""


class Layout(NamedTuple):
    """What a table consists of, in its order."""

    parameter: str | None
    points: list[Point]
    methods: list[str]
    nulls: list[tuple[str, str]]
    """Methods that run without anchors alone, as null baselines, each with a protocol."""
    anchorings: list[str]
    protocols: list[str]
    seeds: list[int]

    def is_null(self, method: str) -> bool:
        """Tell whether a method is a null baseline."""
        return any(method == null for null, _ in self.nulls)
