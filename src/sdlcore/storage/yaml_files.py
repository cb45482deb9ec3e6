"""Read configuration files into trees of values. Refuse trees that are too large or contain unusable text.

Any error of a parser becomes one `ConfigError` that names the file and, if known, the line.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from sdlcore.settings import Json
from sdlcore.text import printable

LARGEST_FILE = 2**18
"""Largest configuration file in bytes; the largest in the package has 2^14."""
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
LONGEST_SHOWN = 200

# no text in a configuration needs more than a line; no file system and no shell accepts Python's surrogates
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
# Snakemake replaces these in every path, also in the paths that functions return
_PLACEHOLDER = re.compile("[{}]|<[a-z][a-z0-9_]*>")


class ConfigError(ValueError):
    """A configuration was refused. The message has one line for each problem, which begins with the path of the key.
    A long problem that an alias repeats is written out only once."""

    def __init__(self, problems: Iterable[str]) -> None:
        lines, first = [], dict[str, str]()
        for problem in map(printable, problems):
            path, _, what = problem.partition(": ")
            before = first.setdefault(what, path)
            again = len(what) > LONGEST_SHOWN and before != path
            lines.append(f"  {path}: the same as {before}" if again else f"  {problem}")
        super().__init__("\n".join(["configuration refused:", *lines]))


def number_as_text(text: str, whole: bool = False) -> str:
    """Return a hint, as the end of a sentence, on how to write a number that YAML read as text. Return an empty string
    for other texts. A ``whole`` number is written without exponent."""
    try:
        number = float(text)
    except ValueError:
        return ""
    mantissa, exponent, power = text.lower().partition("e")
    if not exponent:
        return "; write it without quotes, or in a file if --config gave it"
    written = f"{number:.0f}" if whole and number.is_integer() else f"{float(mantissa)}e{int(power):+d}"
    return f"; write {written}, since YAML reads {text} as text"


def load_yaml(path: str | Path) -> Json:
    """Read one YAML or JSON file with a safe loader.

    Raises
    ------
    ConfigError
        If the file is not readable or not valid. The error names the file and, if known, the line.
    """
    try:
        if Path(path).exists() and not Path(path).is_file():  # opening a pipe would wait for a writer
            raise ConfigError([f"{path}: cannot be read (no regular file)"])
        with Path(path).open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read ({error.strerror})"]) from error
    return parse(content, str(path))


def parse(content: str | bytes, name: str = "text") -> Json:
    """Parse a YAML or JSON text. Error messages begin with ``name``.

    Raises
    ------
    ConfigError
        If the text is neither YAML nor JSON, is too large or too deep, or repeats a key.
    """
    if len(content) > LARGEST_FILE:
        raise ConfigError([f"{name}: more than {LARGEST_FILE} bytes, expected a configuration"])
    try:
        text = content.decode("utf-8") if isinstance(content, bytes) else content
    except UnicodeDecodeError as error:
        number = error.object[: error.start].count(b"\n") + 1
        raise ConfigError([f"{name}: line {number}: not UTF-8; save the file in that encoding"]) from error
    try:
        tree = _parse_json(text, name) if text.lstrip().startswith("{") else _parse_yaml(text, name)
    except ConfigError:
        raise
    except Exception as error:  # PyYAML lets errors of Python's constructors through, from KeyError to RecursionError
        line, message = _line_and_problem(error, text)
        raise ConfigError([f"{name}: {line}not readable as YAML ({' '.join(message.split())})"]) from error
    return tree


def _line_and_problem(error: Exception, text: str) -> tuple[str, str]:
    """Return the line of a parser's error, empty if unknown, and the error's text."""
    if isinstance(error, yaml.reader.ReaderError):  # a character that YAML does not allow
        return f"line {text.count(chr(10), 0, error.position) + 1}: ", f"{error.reason}: #x{error.character:04x}"
    mark, began = getattr(error, "problem_mark", None), getattr(error, "context_mark", None)
    message = getattr(error, "problem", None) or str(error) or type(error).__name__
    # an unclosed bracket or quote is reported lines after its beginning, so name that line too
    if mark is not None and began is not None and began.line < mark.line:
        message = f"{message}, {error.context} from line {began.line + 1}"  # type: ignore[attr-defined]
    return "" if mark is None else f"line {mark.line + 1}: ", message


def mapping(tree: Json, name: str) -> dict[str, Json]:
    """Return the tree as a mapping. Refuse anything else, and trees with `unbounded` values; errors name the file."""
    if not isinstance(tree, Mapping):
        raise ConfigError([f"{name}: expected keys with values, found {shown(tree)}"])
    if "__use_yte__" in tree:
        raise ConfigError([f"{name}: __use_yte__: makes Snakemake run Python code in the file; leave it out"])
    if problems := list(unbounded(tree)):
        raise ConfigError(f"{name}: {problem}" for problem in problems)
    return dict(tree)


def _parse_json(text: str, name: str) -> Json:
    """Parse JSON first, as Snakemake does; a text that only begins like JSON may be YAML."""

    def each_key_once(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
        values: dict[str, Json] = {}
        for key, value in pairs:
            if key in values:
                raise ConfigError([f"{name}: the key {key} occurs twice in one mapping; leave one out"])
            values[key] = value
        return values

    try:
        return json.loads(text, object_pairs_hook=each_key_once)
    except json.JSONDecodeError:
        return _parse_yaml(text, name)


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which also refuses repeated keys in a mapping."""

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        lines: dict[Any, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue  # not a key of any configuration; the constructor refuses it
            # 0.1 and 0.10 are the same key, as are yes and true
            read = key.value if key.tag.endswith(":merge") else self.construct_object(key)
            line, first = key.start_mark.line + 1, lines.get(read)
            if first is not None:
                twice = f"line {line}: the key {key.value} occurs twice, first in line {first}; leave one out"
                raise ConfigError([f"{self.name}: {twice}"])
            lines[read] = line
        return node

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except yaml.YAMLError:
            raise
        except Exception as error:
            message = str(error) or type(error).__name__
            raise yaml.constructor.ConstructorError(None, None, message, node.start_mark) from error


def _parse_yaml(text: str, name: str) -> Json:
    loader = _Loader(text)
    loader.name = name
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def key_path(parts: Iterable[str | int]) -> str:
    """Return the path of a key for error messages: ``tables.table1.methods[0]``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
    return text.removeprefix(".") or "(top level)"


def shown(value: Any) -> str:
    """Return a value for error messages, with the middle of a long one left out."""
    try:
        text = repr(value)
    except ValueError:  # an integer with more digits than Python prints
        text = f"{type(value).__name__} too long to print"
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN // 2]} ... {text[-LONGEST_SHOWN // 2 :]}"


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
                    yield f"{key_path(path)}: expected keys that are text, found {shown(key)}"
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
