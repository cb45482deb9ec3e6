"""Keep deprecated names working, with a warning that states the new name (CONTRIBUTING.md, Deprecations)."""

import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any


def deprecation_notice(old: str, new: str) -> str:
    """Return the deprecation message for a renamed object."""
    return f"{old} is deprecated: write {new}"


def warn_renamed(old: str, new: str, stacklevel: int = 1) -> None:
    """Warn that a name is deprecated.

    The category is FutureWarning, since Python hides a DeprecationWarning from plugins and imported scripts.

    Parameters
    ----------
    old, new
        The names as a user writes them.
    stacklevel
        Number of stack frames between the user's line and this function.
    """
    warnings.warn(deprecation_notice(old, new), FutureWarning, stacklevel=stacklevel + 2)


def moved_module(old: str, new: str) -> Callable[[str], Any]:
    """Return a ``__getattr__`` for a moved module: it warns and forwards every public name to the new module."""

    def attribute(name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"module {old!r} has no attribute {name!r}")
        found = getattr(import_module(new), name)
        warn_renamed(f"{old}.{name}", f"{new}.{name}")
        return found

    return attribute


def renamed_names(module: str, names: dict[str, tuple[str, Any]]) -> Callable[[str], Any]:
    """Return a ``__getattr__`` for a module with renamed objects.

    ``names`` maps an old name to the new name and the object.
    """

    def attribute(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        new, found = names[name]
        warn_renamed(f"{module}.{name}", new)
        return found

    return attribute
