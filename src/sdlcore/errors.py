"""Errors that users may want to catch. The message says what is wrong, where, and what to do."""

from collections.abc import Mapping, Sequence
from typing import Any, Self


class StoreError(ValueError):
    """A file is no activation store, or one that cannot be read or written. The message names it."""


class SourceError(ValueError):
    """A model, a text, a file or a setting cannot be used. The message says which, and what to do."""


class PluginError(ImportError):
    """A plugin cannot be found or imported, or what it registers is refused."""


class DivergedError(RuntimeError):
    """The loss is no longer a finite number. The message says in which steps, and names the last checkpoint."""


class RefusedError(ValueError):
    """A format cannot express a dictionary. The message says which, why and what to do."""


class FitManyError(ExceptionGroup[Exception]):
    """Some runs of `fit_many` failed. ``found`` has the dictionaries of the others, by name."""

    found: Mapping[Any, Any]

    def __new__(cls, message: str, errors: Sequence[Exception], found: Mapping[Any, Any]) -> Self:
        self = super().__new__(cls, message, errors)
        self.found = found
        return self
