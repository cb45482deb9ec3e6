"""Paths as users write them."""

import os
from pathlib import Path


def user_path(path: str | os.PathLike[str], name: str = "the path") -> Path:
    """Return a path with ``~`` replaced by the home folder; ValueError naming the argument if it is empty.

    A shell replaces ``~`` only at the beginning of an argument, and Python nowhere. An empty path would be the folder
    that the process works in.
    """
    text = os.fspath(path)
    if not text:
        raise ValueError(f"{name} is empty, expected a path; the working folder is '.'")
    return Path(os.path.expanduser(text))  # noqa: PTH111, pathlib's raises where there is no such user
