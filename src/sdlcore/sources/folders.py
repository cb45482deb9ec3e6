"""Walk folders of images or texts: the files to take, and the others with the reason.

Links: the folder itself may be one, and a link to a file inside the folder is that file. Links that lead out of the
folder and links to folders are not followed, since what lies elsewhere would stand in stores and figures under a name
of this folder.
"""

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from sdlcore.storage.parsing import describe_error
from sdlcore.text import printable

LINK_TO_FOLDER = "a link to a folder"
NO_FILE = "not a regular file"


class Skipped(NamedTuple):
    """What was left out.

    Attributes
    ----------
    path
        Relative to the folder.
    reason
        Why.
    """

    path: str
    reason: str


class Found(NamedTuple):
    """What stands in a folder or in one below it.

    Attributes
    ----------
    path
        Relative to the folder, with forward slashes.
    size
        In bytes; -1 where the system does not say, as of links to nothing: opening it will say why.
    reason
        Why it is not taken, or None.
    folder
        Whether it is a folder, or a link to one.
    """

    path: str
    size: int
    reason: str | None
    folder: bool


def link_out(kind: str) -> str:
    """Return the reason for which a link is not followed that leads out of an image or a text folder."""
    return f"a link that leads out of the {kind} folder"


def is_folder(path: str | Path) -> bool:
    """Return whether there is a folder at a path, or a link to one. One that cannot be looked at is none."""
    try:
        return Path(path).is_dir()
    except OSError:
        return False


def is_regular(path: str | Path) -> bool:
    """Return whether there is a regular file at a path, or a link to one. Opening a pipe, say, would wait for ever."""
    try:
        return Path(path).is_file()
    except OSError:
        return False


def walk(root: str | Path, kind: str, start: str = "") -> Iterator[Found]:
    """Yield everything below a folder, in no order and however deep it lies; folders too, but for ``start``.

    Parameters
    ----------
    root
        The folder.
    kind
        image or text: what it is a folder of.
    start
        A folder in it to look into, relative to it; all of it if empty.
    """
    inside = os.path.realpath(root)
    if start and (Path(root) / start).is_symlink():
        yield Found(start, 0, LINK_TO_FOLDER, True)
        return
    waiting = [start]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(Path(root) / folder) as entries:
                listed = [(entry, f"{folder}/{entry.name}" if folder else entry.name) for entry in entries]
        except OSError as error:
            yield _unreadable(folder, error, Path(root) / folder)
            continue
        for entry, path in listed:
            found = _look_at(entry, path, inside, kind)
            if found.folder and found.reason is None:
                waiting.append(path)
            yield found


def sort_out(
    found: Iterable[Found], called: Callable[[str], bool], against: Callable[[Found], str | None]
) -> tuple[list[Found], list[Skipped]]:
    """Return the files of a folder that are taken, and what is skipped of it; both sorted by path.

    Parameters
    ----------
    found
        What `walk` yields.
    called
        Whether a path is that of an image or a text by its name. What is not is none of either.
    against
        Why a file or a folder is not taken, or None.

    A folder that is called like a file is skipped, too, where nothing in it is taken.
    """
    found = sorted(found)
    taken = [entry for entry in found if not entry.folder and called(entry.path) and against(entry) is None]
    skipped = []
    for entry in found:
        reason = against(entry)
        if reason is None and entry.folder and called(entry.path):
            reason = None if any(file.path.startswith(f"{entry.path}/") for file in taken) else "a folder"
        if reason is not None and (entry.folder or called(entry.path)):
            skipped.append(Skipped(printable(entry.path), reason))
    return taken, skipped


def _unreadable(path: str, error: OSError, whole: str | Path) -> Found:
    return Found(path, 0, f"a folder that cannot be read ({describe_error(error, whole)})", True)


def _look_at(entry: os.DirEntry[str], path: str, inside: str, kind: str) -> Found:
    try:
        status = entry.stat()
    except OSError as error:
        if entry.is_dir(follow_symlinks=False):  # which its folder says; its own path may be too long
            return _unreadable(path, error, entry.path)
        status = None
    folder = status is not None and stat.S_ISDIR(status.st_mode)
    if entry.is_symlink():
        if os.path.commonpath([os.path.realpath(entry.path), inside]) != inside:
            return Found(path, 0, link_out(kind), folder)
        if folder:
            return Found(path, 0, LINK_TO_FOLDER, True)
    if status is None:
        return Found(path, -1, None, False)
    if folder or stat.S_ISREG(status.st_mode):
        return Found(path, status.st_size, None, folder)
    return Found(path, 0, NO_FILE, False)
