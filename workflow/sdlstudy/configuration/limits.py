"""Refuse trees of values that are too large, or contain text that no path and no shell may get."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sdlcore.settings import Json
from sdlcore.storage.yaml_files import ConfigError

MOST_VALUES = 20_000
"""Values in a configuration. Values repeated by an alias count each time, so the limit also ends cycles of aliases."""
MOST_ITEMS = 1000
"""Items in one list or mapping. Some checks compare each item with all others."""
DEEPEST = 40
"""Levels of nesting."""
LARGEST_NUMBER = 2**63
LONGEST_TEXT = 1000
LONGEST_NAME = 200
"""Bytes in one part of a path: the usual limit of 255, less room for the endings of logs and hidden files."""
LONGEST_REPR = 200

# no text in a configuration needs more than a line; no file system and no shell accepts Python's surrogates
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
# Snakemake replaces these in every path, also in the paths that functions return
_PLACEHOLDER = re.compile("[{}]|<[a-z][a-z0-9_]*>")


def mapping(tree: Json, name: str) -> dict[str, Json]:
    """Return the tree as a mapping. Refuse anything else, `unbounded` values and __use_yte__; errors name the file."""
    if not isinstance(tree, Mapping):
        raise ConfigError([f"{name}: expected keys with values, found {short_repr(tree)}"])
    if "__use_yte__" in tree:
        raise ConfigError([f"{name}: __use_yte__: makes Snakemake run Python code in the file; leave it out"])
    if problems := list(unbounded(tree)):
        raise ConfigError(f"{name}: {problem}" for problem in problems)
    return dict(tree)


def key_path(parts: Iterable[str | int]) -> str:
    """Return the path of a key for error messages: ``tables.table1.methods[0]``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
    return text.removeprefix(".") or "(top level)"


def short_repr(value: Any) -> str:
    """Return a value for error messages, with the middle of a long one left out."""
    try:
        text = repr(value)
    except ValueError:  # an integer with more digits than Python prints
        text = f"{type(value).__name__} too long to print"
    return text if len(text) <= LONGEST_REPR else f"{text[: LONGEST_REPR // 2]} ... {text[-LONGEST_REPR // 2 :]}"


def unbounded(tree: Any) -> Iterator[str]:
    """Yield the values in a tree that are too large, or unsafe in a path or a shell, each with the path of its key."""
    values = 0
    stack: list[tuple[tuple[Any, ...], Any]] = [((), tree)]
    while stack:
        path, value = stack.pop()
        values += 1
        if values > MOST_VALUES:
            yield f"(top level): more than {MOST_VALUES:,} values, counting values repeated by an alias each time"
            return
        if len(path) > DEEPEST:
            within = key_path(path[:3])
            yield f"{within}: nested more than {DEEPEST} deep; does an alias refer to a value that contains it?"
            return
        if isinstance(value, Mapping | list | tuple | set) and len(value) > MOST_ITEMS:
            yield f"{key_path(path)}: {len(value)} items, expected at most {MOST_ITEMS}"
            return
        if isinstance(value, Mapping):
            for key, child in value.items():
                if not isinstance(key, str):
                    yield f"{key_path(path)}: expected keys that are text, found {short_repr(key)}"
                    return
                if problem := unfit_text(key):
                    yield f"{key_path((*path, key[:LONGEST_NAME]))}: expected a key {problem}"
                stack.append(((*path, key), child))
        elif isinstance(value, list | tuple | set):
            stack += [((*path, index), child) for index, child in enumerate(value)]
        elif isinstance(value, str) and (problem := unfit_text(value)):
            yield f"{key_path(path)}: expected text {problem}, found {value[:LONGEST_NAME]!r}"
        elif isinstance(value, int) and abs(value) >= LARGEST_NUMBER:
            yield f"{key_path(path)}: expected a number below 2^63, found one of {len(bin(value)) - 2} bits"


def unfit_text(text: str) -> str | None:
    """Return how a text must change for use in a path or a command, or None if it is fit."""
    if _UNPRINTABLE.search(text):
        return "on one line, without control characters"
    if len(text) > LONGEST_TEXT:
        return f"with at most {LONGEST_TEXT} characters"
    if any(len(part.encode()) > LONGEST_NAME for part in text.split("/")):
        return f"whose parts between slashes have at most {LONGEST_NAME} bytes"
    if text.startswith("-"):
        return "that does not begin with a dash, which commands would read as an option; write ./ before a path"
    if _PLACEHOLDER.search(text):
        return "without braces and <name>, which Snakemake would replace"
    return None
