"""List the files in folders of images or texts, and skipped files with the reason."""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from sdlcore.storage.parsing import describe_error
from sdlcore.text import printable


class Skipped(NamedTuple):
    """A file or folder that was skipped.

    Attributes
    ----------
    path
        Path relative to the folder, with control characters escaped.
    reason
        Why it was skipped.
    """

    path: str
    reason: str


def files_below(
    root: str | Path, called: Callable[[str], bool], start: str = ""
) -> tuple[dict[str, int], list[Skipped]]:
    """Return path -> size in bytes of the files below a folder, sorted by path, and the skipped files with reasons.

    Links are followed, but not a link to one of the folders that contain it, because such a circle never ends.

    Parameters
    ----------
    root
        The folder; paths are relative to it, with forward slashes.
    called
        Function that returns whether a path has the name of an image or a text. Other files are in neither result.
    start
        Subfolder to start in, relative to ``root``; empty for all of ``root``.
    """
    sizes: dict[str, int] = {}
    skipped: list[Skipped] = []

    def skip(path: str, reason: str) -> None:
        skipped.append(Skipped(printable(os.path.relpath(path, root)), reason))

    def unreadable(error: OSError) -> None:
        skip(error.filename, f"a folder that cannot be read ({describe_error(error, error.filename)})")

    for folder, subfolders, names in os.walk(Path(root) / start, onerror=unreadable, followlinks=True):
        subfolders[:] = [name for name in subfolders if not _is_circle(f"{folder}/{name}")]
        for path in (f"{folder}/{name}" for name in names if called(name)):
            try:
                status = Path(path).stat()
            except OSError as error:
                skip(path, describe_error(error, path))
                continue
            if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for a writer
                skip(path, "not a regular file")
            elif path.encode(errors="replace").decode() != path:  # stores save paths as UTF-8
                skip(path, "its name is not UTF-8")
            else:
                sizes[os.path.relpath(path, root)] = status.st_size
    return dict(sorted(sizes.items())), sorted(skipped)


def _is_circle(path: str) -> bool:
    """Return whether a path is a link to one of the folders that lead to it."""
    link = Path(path)
    return link.is_symlink() and link.resolve() in {folder.resolve() for folder in link.parents}
