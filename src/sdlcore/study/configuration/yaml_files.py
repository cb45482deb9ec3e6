"""Read configuration files into trees of values, and refuse trees that are too large or hold unfit texts.

Whatever a parser raises becomes one `ConfigError` that names the file, and the line if there is one.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from sdlcore.pipeline import Json, printable

LARGEST_FILE = 2**18
"""Bytes of a configuration file; the largest that comes with the package has 2^14."""
MOST_VALUES = 20_000
"""Values of a configuration. Those that an alias repeats count each time, so this also ends cycles of aliases."""
MOST_ITEMS = 1000
"""Items of one list or mapping: some checks compare each item with all others."""
DEEPEST = 40
"""Levels of nesting."""
LARGEST_NUMBER = 2**63
LONGEST_TEXT = 1000
LONGEST_NAME = 200
"""Bytes of one part of a path: the 255 of file systems of today, less what logs and hidden files add to it."""
LONGEST_SHOWN = 200

# no text of a configuration needs more than a line; Python's surrogates can be given to no file system and no shell
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
# Snakemake puts values in their places in every path, those that functions return too
_PLACEHOLDER = re.compile("[{}]|<[a-z][a-z0-9_]*>")


class ConfigError(ValueError):
    """A configuration was refused; the message has one line for every problem, led by the path of the key. What takes
    long to say, and an alias repeats, is said where it comes first."""

    def __init__(self, problems: Iterable[str]) -> None:
        lines, first = [], dict[str, str]()
        for problem in map(printable, problems):
            path, _, what = problem.partition(": ")
            before = first.setdefault(what, path)
            again = len(what) > LONGEST_SHOWN and before != path
            lines.append(f"  {path}: the same as {before}" if again else f"  {problem}")
        super().__init__("\n".join(["configuration refused:", *lines]))


def number_as_text(text: str, whole: bool = False) -> str:
    """Return how to write a number that YAML read as text, a ``whole`` one without exponent, to end a sentence with;
    empty for other texts."""
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
    """Read one YAML or JSON file, safely.

    Raises
    ------
    ConfigError
        Naming the file, and the line of what is wrong in it where there is one.
    """
    try:
        if Path(path).exists() and not Path(path).is_file():  # opening a pipe would wait for somebody to write
            raise ConfigError([f"{path}: cannot be read (no regular file)"])
        with Path(path).open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read ({error.strerror})"]) from error
    return parse(content, str(path))


def parse(content: str | bytes, name: str = "text") -> Json:
    """Return what a YAML or JSON text says; ``name`` leads what an error says.

    Raises
    ------
    ConfigError
        If the text is neither, too large or too deep, or names a key twice.
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
    except Exception as error:  # PyYAML raises what Python's constructors do, from KeyError to RecursionError
        line, said = _line_and_problem(error, text)
        raise ConfigError([f"{name}: {line}not YAML that can be read ({' '.join(said.split())})"]) from error
    return tree


def _line_and_problem(error: Exception, text: str) -> tuple[str, str]:
    """Return the line that a parser complains of, empty where it does not say, and what it says."""
    if isinstance(error, yaml.reader.ReaderError):  # a character that no YAML holds
        return f"line {text.count(chr(10), 0, error.position) + 1}: ", f"{error.reason}: #x{error.character:04x}"
    mark, began = getattr(error, "problem_mark", None), getattr(error, "context_mark", None)
    said = getattr(error, "problem", None) or str(error) or type(error).__name__
    # a bracket or a quote that is never closed is noticed lines after it was opened
    if mark is not None and began is not None and began.line < mark.line:
        said = f"{said}, {error.context} from line {began.line + 1}"  # type: ignore[attr-defined]
    return "" if mark is None else f"line {mark.line + 1}: ", said


def mapping(tree: Json, name: str) -> dict[str, Json]:
    """Return the tree of a configuration file, or refuse it by ``name`` where it is no mapping or not `unbounded`."""
    if not isinstance(tree, Mapping):
        raise ConfigError([f"{name}: expected keys with values, found {shown(tree)}"])
    if "__use_yte__" in tree:
        raise ConfigError([f"{name}: __use_yte__: has Snakemake run Python code that stands in the file; leave it out"])
    if problems := list(unbounded(tree)):
        raise ConfigError(f"{name}: {problem}" for problem in problems)
    return dict(tree)


def _parse_json(text: str, name: str) -> Json:
    """Snakemake, too, takes JSON first; what begins like it and is none may be YAML."""

    def each_key_once(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
        found: dict[str, Json] = {}
        for key, value in pairs:
            if key in found:
                raise ConfigError([f"{name}: the key {key} stands twice in one mapping; leave one out"])
            found[key] = value
        return found

    try:
        return json.loads(text, object_pairs_hook=each_key_once)
    except json.JSONDecodeError:
        return _parse_yaml(text, name)


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which also refuses a key that a mapping has twice."""

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        lines: dict[Any, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue  # no key of ours; the constructor refuses it
            # 0.1 and 0.10, or yes and true, are one key
            read = key.value if key.tag.endswith(":merge") else self.construct_object(key)
            line, first = key.start_mark.line + 1, lines.get(read)
            if first is not None:
                twice = f"line {line}: the key {key.value} stands twice, first in line {first}; leave one out"
                raise ConfigError([f"{self.name}: {twice}"])
            lines[read] = line
        return node

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except yaml.YAMLError:
            raise
        except Exception as error:
            said = str(error) or type(error).__name__
            raise yaml.constructor.ConstructorError(None, None, said, node.start_mark) from error


def _parse_yaml(text: str, name: str) -> Json:
    loader = _Loader(text)
    loader.name = name
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def key_path(parts: Iterable[str | int]) -> str:
    """Return the path of a key as errors show it: ``tables.table1.methods[0]``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
    return text.removeprefix(".") or "(top level)"


def shown(value: Any) -> str:
    """Return a value as an error shows it, shortened in its middle."""
    try:
        text = repr(value)
    except ValueError:  # a number of more digits than Python prints
        text = f"{type(value).__name__} too long to print"
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN // 2]} ... {text[-LONGEST_SHOWN // 2 :]}"


def unbounded(tree: Any) -> Iterator[str]:
    """Yield what is too large in a tree, or unfit for a path or a shell; each begins with its key."""
    values = 0
    left: list[tuple[tuple[Any, ...], Any]] = [((), tree)]
    while left:
        path, value = left.pop()
        values += 1
        if values > MOST_VALUES:
            yield f"(top level): more than {MOST_VALUES:,} values, those that aliases repeat counted each time"
            return
        if len(path) > DEEPEST:
            within = key_path(path[:3])
            yield f"{within}: nested more than {DEEPEST} deep; does an alias stand inside of what it names?"
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
                left.append(((*path, key), child))
        elif isinstance(value, list | tuple | set):
            left += [((*path, index), child) for index, child in enumerate(value)]
        elif isinstance(value, str) and (problem := unfit_text(value)):
            yield f"{key_path(path)}: expected text {problem}, found {value[:LONGEST_NAME]!r}"
        elif isinstance(value, int) and abs(value) >= LARGEST_NUMBER:
            yield f"{key_path(path)}: expected a number below 2^63, found one of {len(bin(value)) - 2} bits"


def unfit_text(text: str) -> str | None:
    """Return what a text should be to stand in a path or a command, None where it is."""
    if _UNPRINTABLE.search(text):
        return "of one line, without control characters"
    if len(text) > LONGEST_TEXT:
        return f"of at most {LONGEST_TEXT} characters"
    if any(len(part.encode()) > LONGEST_NAME for part in text.split("/")):
        return f"whose parts between slashes have at most {LONGEST_NAME} bytes"
    if text.startswith("-"):
        return "that begins with no dash, which commands would take for an option; write ./ before a path"
    if _PLACEHOLDER.search(text):
        return "without braces and <name>, which Snakemake would put other values in place of"
    return None
