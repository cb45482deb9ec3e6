"""Extract several groups of sites, each with its own columns, in one pass of a model."""

from collections.abc import Mapping
from typing import TypeVar

from sdlcore.extraction.config import Site

T = TypeVar("T")


def in_one(groups: Mapping[int, Mapping[str, Site]]) -> dict[str, Site]:
    """Return the sites of all groups, under names that include the group."""
    return {named(key, column): site for key, sites in groups.items() for column, site in sites.items()}


def named(key: int, column: str) -> str:
    """Return the name of a column of a group."""
    return f"{key}-{column}"


def part_of(by_name: Mapping[str, T], key: int, columns: Mapping[str, object]) -> dict[str, T]:
    """Select the columns of one group."""
    return {column: by_name[at] for column in columns if (at := named(key, column)) in by_name}
