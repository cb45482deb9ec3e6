"""Read branches of configurations and merge them, before any model has checked them."""

from collections.abc import Mapping

from sdlcore.settings import Json

Tree = Mapping[str, Json]


def branch(tree: Tree, *path: str) -> dict[str, Json]:
    """Return a copy of the mapping at a path, or an empty mapping."""
    value: Json = tree
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return dict(value) if isinstance(value, Mapping) else {}


def nested(value: Json, *path: str) -> dict[str, Json]:
    """Return a mapping with a value at a path of at least one key."""
    key, *below = path
    return {key: nested(value, *below) if below else value}


def merge(base: Tree, over: Tree) -> dict[str, Json]:
    """Return ``base`` merged with ``over``. Mappings merge key by key; any other value of ``over`` replaces."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = merge(below, value) if isinstance(value, Mapping) and isinstance(below, Mapping) else value
    return merged
