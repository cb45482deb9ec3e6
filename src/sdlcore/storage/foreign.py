"""Read settings that another library wrote as JSON, each as one type.

Python accepts nearly anything as a number or a flag: ``int(2.9)`` is 2, ``int(True)`` is 1, and ``bool("false")`` is
true. A value of another type than its library writes is refused instead, in one sentence that names the file and the
key.
"""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sdlcore.errors import SourceError
from sdlcore.text import shown


def read_object(path: Path) -> dict[str, Any]:
    """Return the object that a JSON file holds.

    Raises
    ------
    OSError
        If it is no regular file.
    SourceError
        If it holds something other than an object, or names a key twice.
    """
    if not path.is_file():  # opening a pipe would wait for somebody to write
        raise FileNotFoundError(f"{path.name}: no such file")

    def each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise SourceError(f"{path}: has the key {shown(twice)} twice in one object; leave one out")
        return found

    content = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=each_key_once)
    if not isinstance(content, dict):
        raise SourceError(f"{path}: holds {type(content).__name__}, expected an object")
    return content


class Settings:
    """Typed access to an object of settings.

    Parameters
    ----------
    where
        The file, or what else an error should name.
    values
        The object.
    within
        Path of the object in the file, which errors put before a key.
    """

    def __init__(self, where: Path | str, values: Mapping[str, Any], within: str = "") -> None:
        self.where, self.values, self.within = where, values, within

    def __contains__(self, key: str) -> bool:
        """Whether the key has a value other than null."""
        return self.values.get(key) is not None

    def text(self, key: str, default: str | None = None) -> str:
        """Return a text. Without a default, the key has to be there."""
        value = self._value(key, default, "text")
        if not isinstance(value, str):
            raise self.refused(key, "text")
        return value

    def choice(self, key: str, choices: Iterable[str], default: str) -> str:
        """Return one of several texts."""
        value = self.values.get(key, default)
        if value not in (known := list(choices)):
            raise self.refused(key, f"one of {', '.join(known)}")
        return str(value)

    def flag(self, key: str, default: bool) -> bool:
        """Return true or false."""
        value = self.values.get(key, default)
        if not isinstance(value, bool):
            raise self.refused(key, "true or false")
        return value

    def count(self, key: str, default: int | None = None, least: int = 1) -> int:
        """Return a whole number. JSON has one type of numbers, so that 64.0 counts as 64."""
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
        """Return those of several whole numbers that are there."""
        return {key: self.count(key) for key in keys if key in self}

    def section(self, key: str) -> "Settings":
        """Return an object within this one."""
        value = self._value(key, None, "an object")
        if not isinstance(value, dict):
            raise self.refused(key, "an object")
        return Settings(self.where, value, f"{self.within}{key}.")

    def refused(self, key: str, expected: str) -> SourceError:
        """Return the error for a value that was not expected."""
        value = shown(repr(self.values.get(key)))
        return SourceError(f"{self.where}: {self.within}{key} is {value}, expected {expected}")

    def _value(self, key: str, default: Any, expected: str) -> Any:
        if key not in self.values and default is None:
            raise SourceError(f"{self.where}: lacks {self.within}{key}, {expected}")
        return self.values.get(key, default)
