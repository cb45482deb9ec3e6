"""Refuse files that are no configuration, and text that Snakemake or a shell would read as something else."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from sdlcore.settings import Json
from sdlcore.storage.yaml_files import ConfigError

# no text in a configuration needs more than a line; no file system and no shell accepts Python's surrogates
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
# Snakemake replaces these in every path, also in the paths that functions return
_PLACEHOLDER = re.compile("[{}]|<[a-z][a-z0-9_]*>")


def mapping(tree: Json, name: str) -> dict[str, Json]:
    """Return the tree as a mapping. Refuse anything else, `unfit` texts and __use_yte__; errors name the file."""
    if not isinstance(tree, Mapping):
        raise ConfigError([f"{name}: expected keys with values, found {tree!r:.100}"])
    if "__use_yte__" in tree:
        raise ConfigError([f"{name}: __use_yte__: makes Snakemake run Python code in the file; leave it out"])
    try:
        problems = list(unfit(tree))
    except RecursionError:
        raise ConfigError([f"{name}: an alias refers to a value that contains it"]) from None
    if problems:
        raise ConfigError(f"{name}: {problem}" for problem in problems)
    return dict(tree)


def unfit(tree: Any, path: str = "") -> Iterator[str]:
    """Yield the texts in a tree that are unsafe in a path or a shell, each with the path of its key."""
    if isinstance(tree, Mapping):
        for key, child in tree.items():
            inside = f"{path}.{key}".removeprefix(".")
            if isinstance(key, str) and (problem := unfit_text(key)):
                yield f"{inside}: expected a key {problem}"
            yield from unfit(child, inside)
    elif isinstance(tree, list):
        for index, child in enumerate(tree):
            yield from unfit(child, f"{path}.{index}")
    elif isinstance(tree, str) and (problem := unfit_text(tree)):
        yield f"{path}: expected text {problem}, found {tree!r:.100}"


def unfit_text(text: str) -> str | None:
    """Return how a text must change for use in a path or a command, or None if it is fit."""
    if _UNPRINTABLE.search(text):
        return "on one line, without control characters"
    if text.startswith("-"):
        return "that does not begin with a dash, which commands would read as an option; write ./ before a path"
    if _PLACEHOLDER.search(text):
        return "without braces and <name>, which Snakemake would replace"
    return None
