"""List the files in folders of images or texts."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from sdlcore.text import printable


class Skipped(NamedTuple):
    """A file that was skipped: its path relative to the folder, with control characters escaped, and the reason."""

    path: str
    reason: str


def files_below(
    root: str | Path, called: Callable[[str], bool], start: str = ""
) -> tuple[dict[str, int], list[Skipped]]:
    """Return path -> size in bytes of the files below a folder, sorted by path, and what is no file.

    Links are followed.

    Parameters
    ----------
    root
        The folder; paths are relative to it, with forward slashes.
    called
        Function that returns whether a name is one of an image or a text. Other files are in neither result.
    start
        Subfolder to start in, relative to ``root``; empty for all of ``root``.

    Raises
    ------
    OSError
        If a folder cannot be read, whose files would otherwise be missing without notice.
    """
    sizes: dict[str, int] = {}
    skipped: list[Skipped] = []

    def fail(error: OSError) -> None:
        raise error

    for folder, _, names in os.walk(Path(root) / start, onerror=fail, followlinks=True):
        for path in (Path(folder, name) for name in names if called(name)):
            name = os.path.relpath(path, root)
            if path.is_file():
                sizes[name] = path.stat().st_size
            else:
                skipped.append(Skipped(printable(name), "a broken link, or no regular file"))
    return dict(sorted(sizes.items())), sorted(skipped)
