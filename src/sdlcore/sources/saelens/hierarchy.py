"""Feature hierarchies in SAELens' format, and their effect on coefficients."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from sdlcore.errors import SourceError
from sdlcore.text import shown

KEYS = ("feature_index", "children", "mutually_exclusive_children", "scale_children_by_parent", "feature_id")


class Generation(NamedTuple):
    """The nodes at one depth of all trees: groups of mutually exclusive siblings, and parents of features."""

    siblings: np.ndarray
    """Mutually exclusive features, a row per group (groups x largest group), padded with -1."""
    children: np.ndarray
    """Features with a parent."""
    parents: np.ndarray
    """Parent of each child. It may be several generations above, because nodes without a feature are skipped."""
    scaled: np.ndarray
    """Whether each child is multiplied by its parent's magnitude divided by the parent's mean."""


class _Node(NamedTuple):
    given: dict[str, Any]
    parent: int
    """Feature of the parent, -1 for none."""
    scaled: bool


def read_generations(hierarchy: Any, n: int) -> list[Generation]:
    """Parse the trees in ``hierarchy.json``; return their generations, roots first.

    Parameters
    ----------
    hierarchy
        Content of ``hierarchy.json``.
    n
        Number of features.

    Raises
    ------
    SourceError
        If a key or a value is invalid; the message names it.
    """
    if not isinstance(hierarchy, dict) or not isinstance(hierarchy.get("roots"), list):
        raise SourceError("roots: missing, expected a list of trees")
    seen: set[int] = set()
    level, found = [_Node(_checked(root, n, seen), -1, False) for root in hierarchy["roots"]], []
    groups: list[list[int]] = []
    while level:
        placed = [(node.given["feature_index"], node.parent, node.scaled) for node in level if node.parent >= 0]
        nested = [place for place in placed if place[0] is not None]
        size = max(map(len, groups), default=0)
        found.append(
            Generation(
                np.array([group + [-1] * (size - len(group)) for group in groups], dtype=np.int64).reshape(
                    len(groups), size
                ),
                np.array([child for child, _, _ in nested], dtype=np.int64),
                np.array([parent for _, parent, _ in nested], dtype=np.int64),
                np.array([scaled for _, _, scaled in nested], dtype=bool),
            )
        )
        level, groups = _below(level, n, seen)
    return found


def _below(level: list[_Node], n: int, seen: set[int]) -> tuple[list[_Node], list[list[int]]]:
    """Return the children of a level's nodes, and the groups of mutually exclusive features among them."""
    nodes, groups = [], []
    for node in level:
        feature = node.given["feature_index"]
        children = [_checked(child, n, seen) for child in node.given["children"]]
        parent = node.parent if feature is None else feature
        nodes += [_Node(child, parent, node.given["scale_children_by_parent"]) for child in children]
        features = [child["feature_index"] for child in children if child["feature_index"] is not None]
        if node.given["mutually_exclusive_children"] and len(features) > 1:
            groups.append(features)
    return nodes, groups


def _checked(node: Any, n: int, seen: set[int]) -> dict[str, Any]:
    """Check a node and add defaults. Features are added to ``seen``, since each may have only one node."""
    if not isinstance(node, dict):
        raise SourceError(f"children: {node!r} is not a node, expected a mapping")
    if unknown := sorted(node.keys() - set(KEYS)):
        raise SourceError(f"{shown(unknown[0])}: unknown key of a node; expected some of {', '.join(KEYS)}")
    flags = {key: node.get(key, False) for key in ("mutually_exclusive_children", "scale_children_by_parent")}
    for key, value in flags.items():
        if not isinstance(value, bool):
            raise SourceError(f"{key}: {value!r}, expected true or false")
    feature, children = node.get("feature_index"), node.get("children", [])
    if not isinstance(children, list):
        raise SourceError(f"children: {children!r}, expected a list")
    if feature is not None:
        if not isinstance(feature, int) or isinstance(feature, bool) or not 0 <= feature < n:
            raise SourceError(f"feature_index: {feature!r}, expected null or one of 0 to {n - 1}")
        if feature in seen:
            raise SourceError(f"feature_index: {feature} is given to two nodes")
        seen.add(feature)
    return {"feature_index": feature, "children": children, **flags}


def nest(x: np.ndarray, generations: list[Generation], means: np.ndarray, rng: np.random.Generator) -> None:
    """Apply a hierarchy to coefficients, in place: parents and siblings silence candidates.

    From the roots down, one of several active exclusive siblings is kept at random. A child is silenced if its parent
    is silent; scaled children are multiplied by the parent's magnitude divided by the parent's mean.

    Parameters
    ----------
    x
        Magnitudes of candidates (N x n).
    generations
        Result of `read_generations`.
    means
        Mean magnitudes (n).
    rng
        Generator for the choice among siblings.
    """
    for siblings, children, parents, scaled in generations:
        if siblings.size:
            there = siblings >= 0
            drawn = rng.random((len(x), *siblings.shape), dtype=np.float32)
            lots = np.where((x[:, siblings] > 0) & there, drawn, -1)
            taken = lots.argmax(axis=2)[..., None] == np.arange(siblings.shape[1])
            x[:, siblings[there]] *= taken[:, there]
        if children.size:
            above = x[:, parents]
            x[:, children] *= np.where(scaled, above / np.where(scaled, means[parents], 1), above > 0)


def scaled_parents(generations: list[Generation]) -> Iterator[int]:
    """Yield the parents of scaled children; their mean magnitudes must not be zero."""
    for generation in generations:
        yield from map(int, generation.parents[generation.scaled])
