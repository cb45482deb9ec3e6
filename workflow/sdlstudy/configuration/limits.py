"""Refuse files that are no configuration, and text that Snakemake or a shell would read as something else."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from sdlcore.settings import Json
from sdlcore.storage.yaml_files import ConfigError

UNFIT = re.compile(r"^-|[\x00-\x1f\x7f{}]|<[a-z][a-z0-9_]*>")
"""Commands read a leading dash as an option; Snakemake replaces braces and <name> in every path."""
FIT = "a line without braces and <name>, and no dash at its start"


def mapping(tree: Json, name: str) -> dict[str, Json]:
    """Return the tree as a mapping. Refuse anything else, `unfit` texts and __use_yte__; errors name the file."""
    if not isinstance(tree, Mapping):
        raise ConfigError([f"{name}: expected keys with values, found {tree!r:.100}"])
    if "__use_yte__" in tree:
        raise ConfigError([f"{name}: __use_yte__: makes Snakemake run Python code in the file; leave it out"])
    if problems := list(unfit(tree)):
        raise ConfigError(f"{name}: {problem}" for problem in problems)
    return dict(tree)


def unfit(tree: Any, path: str = "") -> Iterator[str]:
    """Yield the keys and texts in a tree that are unsafe in a path or a shell, each with the path of its key."""
    parts = tree.items() if isinstance(tree, Mapping) else enumerate(tree) if isinstance(tree, list) else ()
    for key, child in parts:
        inside = f"{path}.{key}".removeprefix(".")
        for text in (key, child):
            if isinstance(text, str) and UNFIT.search(text):
                yield f"{inside}: expected {FIT}; found {text!r:.100}"
        yield from unfit(child, inside)
