"""Exceptions that users may want to catch. Each message states the problem, its place and a remedy.

Messages about files repeat names and values from them. So these exceptions escape control characters: a crafted file
must not command the terminal that shows its error.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Self

from sdlcore.text import printable_lines


class _Printable(Exception):
    """An exception whose message has its control characters escaped."""

    def __init__(self, message: object = "") -> None:
        super().__init__(printable_lines(message))


class StoreError(_Printable, ValueError):
    """An activation store cannot be read or written, or a file is not a store. The message names the file."""


class SourceError(_Printable, ValueError):
    """A model, a text, a file or a setting cannot be used. The message names the model, text, file or setting, and a
    remedy."""


class PluginError(_Printable, ImportError):
    """A plugin cannot be found, imported or registered."""


class DivergedError(_Printable, RuntimeError):
    """A loss or a weight is no longer a finite number. The message names the steps and the last checkpoint."""


class RefusedError(_Printable, ValueError):
    """Another library's format cannot express a dictionary. The message names the format, the reason and a remedy."""


class FitManyError(ExceptionGroup[Exception]):
    """Some runs of `fit_many` failed. ``dictionaries`` maps the other runs to their results, by name."""

    dictionaries: Mapping[Any, Any]

    def __new__(cls, message: str, errors: Sequence[Exception], dictionaries: Mapping[Any, Any]) -> Self:
        self = super().__new__(cls, message, errors)
        self.dictionaries = dictionaries
        return self


def printable_cause(error: BaseException) -> BaseException | None:
    """Return the cause of an error for ``raise ... from``; None if a traceback would show control characters of a file
    in its message."""
    text = str(error)
    return error if text == printable_lines(text) else None
