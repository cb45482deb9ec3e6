"""Feature hierarchies in SAELens' format."""

from typing import Any, NamedTuple

from sdlcore.errors import SourceError
from sdlcore.sources.synth.families import Family
from sdlcore.text import short_text

KEYS = ("feature_index", "children", "mutually_exclusive_children", "scale_children_by_parent", "feature_id")


class _Node(NamedTuple):
    settings: dict[str, Any]
    parent: int | None
    """Feature of the parent, or of the nearest ancestor that has one."""


def read_families(hierarchy: Any, n: int) -> list[Family]:
    """Parse the trees in ``hierarchy.json``; return their families of siblings, roots first.

    A family's parent may be several generations above, because nodes without a feature are skipped. Siblings that have
    no parent and do not exclude each other are no family.

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
    features: set[int] = set()
    level = [_Node(_checked(root, n, features), None) for root in hierarchy["roots"]]
    families: list[Family] = []
    while level:
        below: list[_Node] = []
        for node in level:
            feature = node.settings["feature_index"]
            parent = node.parent if feature is None else feature
            children = [_checked(child, n, features) for child in node.settings["children"]]
            below += [_Node(child, parent) for child in children]
            members = tuple(child["feature_index"] for child in children if child["feature_index"] is not None)
            exclusive = node.settings["mutually_exclusive_children"] and len(members) > 1
            if members and (exclusive or parent is not None):
                scaled = node.settings["scale_children_by_parent"] and parent is not None
                families.append(Family(parent, members, exclusive, scaled))
        level = below
    return families


def _checked(node: Any, n: int, features: set[int]) -> dict[str, Any]:
    """Check a node and add defaults. Features are added to ``features``, since each may have only one node."""
    if not isinstance(node, dict):
        raise SourceError(f"children: {node!r} is not a node, expected a mapping")
    if unknown := sorted(node.keys() - set(KEYS)):
        raise SourceError(f"{short_text(unknown[0])}: unknown key of a node; expected some of {', '.join(KEYS)}")
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
        if feature in features:
            raise SourceError(f"feature_index: {feature} is given to two nodes")
        features.add(feature)
    return {"feature_index": feature, "children": children, **flags}
