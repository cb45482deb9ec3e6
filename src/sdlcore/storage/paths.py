"""Paths as users write them."""

import os
from pathlib import Path


def user_path(path: str | os.PathLike[str], name: str = "path") -> Path:
    """Return a path with ``~`` replaced by the home folder; ValueError if the path is empty.

    A shell replaces ``~`` only at the start of an argument, and Python's `open` never does. An empty path is refused
    because Python would take it for the working folder. ``name`` is the argument's name in the message.
    """
    text = os.fspath(path)
    if not text:
        raise ValueError(f"{name} is empty, expected a path; the working folder is '.'")
    return Path(os.path.expanduser(text))  # noqa: PTH111, pathlib's expanduser raises if the user does not exist
