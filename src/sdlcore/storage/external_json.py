"""Read typed settings from JSON files of other libraries.

Python accepts nearly anything as a number or a flag: ``int(2.9)`` is 2, ``int(True)`` is 1, and ``bool("false")`` is
true. In this module, a value of an unexpected type raises an error that names the file and the key.
"""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sdlcore.errors import SourceError
from sdlcore.text import short_text


def read_object(path: Path) -> dict[str, Any]:
    """Read the JSON object in a file.

    Raises
    ------
    OSError
        If the path is not a regular file.
    SourceError
        If the file contains something other than an object.
    ValueError
        If the file is not JSON in UTF-8. The message does not name the file; `sdlcore.storage.parsing` adds the name.
    """
    if not path.is_file():  # opening a pipe would wait for a writer
        raise FileNotFoundError(f"{path.name}: no such file")
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise SourceError(f"{path}: contains a {type(content).__name__}, expected a JSON object")
    return content


class Settings:
    """Typed access to a JSON object of settings. Each method raises SourceError for a value of another type.

    Parameters
    ----------
    where
        The file, or another origin, that errors name.
    values
        The object.
    within
        Path of the object in the file, such as ``trainer.``; errors put it before a key.
    """

    def __init__(self, where: Path | str, values: Mapping[str, Any], within: str = "") -> None:
        self.where, self.values, self.within = where, values, within

    def __contains__(self, key: str) -> bool:
        """Whether the key has a value other than null."""
        return self.values.get(key) is not None

    def text(self, key: str, default: str | None = None) -> str:
        """Return a string. Without a default, the key is required."""
        value = self._value(key, default, "text")
        if not isinstance(value, str):
            raise self.refused(key, "text")
        return value

    def choice(self, key: str, choices: Iterable[str], default: str) -> str:
        """Return one of several strings."""
        value = self.values.get(key, default)
        if value not in (names := list(choices)):
            raise self.refused(key, f"one of {', '.join(names)}")
        return str(value)

    def flag(self, key: str, default: bool) -> bool:
        """Return true or false."""
        value = self.values.get(key, default)
        if not isinstance(value, bool):
            raise self.refused(key, "true or false")
        return value

    def count(self, key: str, default: int | None = None, least: int = 1) -> int:
        """Return a whole number of at least ``least``. 64.0 counts as 64, since JSON has only one type of numbers."""
        expected = f"a whole number of at least {least}"
        value = self._value(key, default, expected)
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1 or value < least:
            raise self.refused(key, expected)
        return int(value)

    def number(self, key: str) -> float:
        """Return a finite number."""
        value = self._value(key, None, "a finite number")
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise self.refused(key, "a finite number")
        return float(value)

    def counts(self, *keys: str) -> dict[str, int]:
        """Return whole numbers by key, for the keys that are present."""
        return {key: self.count(key) for key in keys if key in self}

    def section(self, key: str) -> "Settings":
        """Return a nested object."""
        value = self._value(key, None, "an object")
        if not isinstance(value, dict):
            raise self.refused(key, "an object")
        return Settings(self.where, value, f"{self.within}{key}.")

    def refused(self, key: str, expected: str) -> SourceError:
        """Return the error for an unexpected value."""
        value = short_text(repr(self.values.get(key)))
        return SourceError(f"{self.where}: {self.within}{key} is {value}, expected {expected}")

    def _value(self, key: str, default: Any, expected: str) -> Any:
        if key not in self.values and default is None:
            raise SourceError(f"{self.where}: lacks {self.within}{key}, {expected}")
        return self.values.get(key, default)
