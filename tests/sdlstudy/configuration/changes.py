"""Changes of a configuration in tables of tests."""

from typing import Any

from sdlstudy.settings.trees import merge


def nested(change: dict[str, Any]) -> dict[str, Any]:
    """Return a change with nested keys, given one whose keys are paths such as ``methods.topk.k``."""
    tree: dict[str, Any] = {}
    for path, value in change.items():
        for key in reversed(path.split(".")):
            value = {key: value}
        tree = merge(tree, value)
    return tree


def named(change: dict[str, Any], message: str) -> str:
    """Return a message; one that begins with a colon is that of the only key of the change."""
    (path, *_) = change
    return path + message if message.startswith(":") else message
