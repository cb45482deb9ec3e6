"""Exceptions that users may want to catch. Each message states the problem, its place and a remedy.

Messages repeat names from files. The command line escapes their control characters (`sdlcore.command_line`).
"""

from collections.abc import Mapping
from typing import Any


class StoreError(ValueError):
    """An activation store cannot be read or written, or a file is not a store. The message names the file."""


class SourceError(ValueError):
    """A model, a text, a file or a setting cannot be used. The message names the model, text, file or setting, and a
    remedy."""


class PluginError(ImportError):
    """A plugin cannot be found, imported or registered."""


class DivergedError(RuntimeError):
    """A loss or a weight is no longer a finite number. The message names the steps and the last checkpoint."""


class RefusedError(ValueError):
    """Another library's format cannot express a dictionary. The message names the format, the reason and a remedy."""


class FitManyError(ExceptionGroup[Exception]):
    """Some runs of `fit_many` failed. ``dictionaries`` maps the other runs to their results, by name."""

    dictionaries: Mapping[Any, Any]
