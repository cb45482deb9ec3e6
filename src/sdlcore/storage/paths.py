"""Paths as users write them."""

import os
from pathlib import Path

from sdlcore.text import short_text


def user_path(path: str | os.PathLike[str], name: str = "path") -> Path:
    """Return a path with ``~`` replaced by the home folder; ValueError if the path is empty, or is no path.

    A shell replaces ``~`` only at the start of an argument, and Python's `open` never does. An empty path is refused
    because Python would take it for the working folder. ``name`` is the argument's name in the message.
    """
    if not isinstance(path, str | os.PathLike):
        raise ValueError(f"{name} is {short_text(repr(path))}, expected a path")
    text = os.fspath(path)
    if not text:
        raise ValueError(f"{name} is empty, expected a path; the working folder is '.'")
    return Path(os.path.expanduser(text))  # noqa: PTH111, pathlib's expanduser raises if the user does not exist


def cache_folder() -> Path:
    """Return the user's folder for downloads and converted files, ``~/.cache/sdlcore``.

    As usual, ``XDG_CACHE_HOME`` replaces ``~/.cache``.
    """
    return user_path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "sdlcore"
