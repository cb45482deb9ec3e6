"""Read typed settings from JSON files of other libraries.

Python accepts nearly anything as a number or a flag: ``int(2.9)`` is 2, ``int(True)`` is 1, and ``bool("false")`` is
true. In this module, a value of an unexpected type raises an error that names the file and the key.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge

from sdlcore.errors import SourceError
from sdlcore.settings import checked


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
        return str(self._value(key, str, default))

    def choice(self, key: str, choices: Iterable[str], default: str) -> str:
        """Return one of several strings."""
        return str(self._value(key, Literal[tuple(choices)], default))

    def flag(self, key: str, default: bool) -> bool:
        """Return true or false."""
        return bool(self._value(key, bool, default))

    def count(self, key: str, default: int | None = None, least: int = 1) -> int:
        """Return a whole number of at least ``least``. 64.0 counts as 64, since JSON has only one type of numbers."""
        value = self.values.get(key, default)
        whole = int(value) if isinstance(value, float) and value.is_integer() else value
        return int(Settings(self.where, {key: whole}, self.within)._value(key, Annotated[int, Ge(least)]))

    def number(self, key: str) -> float:
        """Return a finite number."""
        return float(self._value(key, float))

    def section(self, key: str) -> "Settings":
        """Return a nested object."""
        return Settings(self.where, self._value(key, dict[str, Any]), f"{self.within}{key}.")

    def _value(self, key: str, kind: Any, default: Any = None) -> Any:
        try:
            return checked(f"{self.where}: {self.within}{key}", kind, self.values.get(key, default))
        except ValueError as error:
            raise SourceError(str(error)) from None
