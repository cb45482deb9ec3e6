"""Read configuration files into trees of values.

Any error of a parser becomes one `ConfigError` that names the file and, if known, the line.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from sdlcore.settings import Json
from sdlcore.text import printable, short_text


class ConfigError(ValueError):
    """A configuration was refused. The message has one line for each problem, which begins with the path of the key."""

    def __init__(self, problems: Iterable[str]) -> None:
        super().__init__("\n".join(["configuration refused:", *(f"  {printable(problem)}" for problem in problems)]))


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
        content = Path(path).read_bytes()
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read ({error.strerror})"]) from error
    return parse(content, str(path))


def parse(content: str | bytes, name: str = "text") -> Json:
    """Parse a YAML or JSON text. Error messages begin with ``name``.

    Raises
    ------
    ConfigError
        If the text is neither YAML nor JSON, is too deep, or repeats a key.
    """
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
    """PyYAML's safe loader, which also refuses repeated keys in a mapping and numbers of base 60."""

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
        if node.tag.endswith((":int", ":float")) and ":" in node.value:
            message = f"{short_text(node.value)} is a number of base 60; list every number, or write a text in quotes"
            raise yaml.constructor.ConstructorError(None, None, message, node.start_mark)
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
