"""List the files in folders of images or texts, and skipped files with the reason.

The folder itself may be a link. A link to a file inside the folder counts as that file. Links to folders, and links
that lead out of the folder, are not followed: otherwise files from elsewhere would appear in stores and figures under
names in this folder.
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


class Entry(NamedTuple):
    """An entry of a folder, at any depth.

    Attributes
    ----------
    path
        Path relative to the folder, with forward slashes.
    size
        Size in bytes; -1 if unknown, as for broken links, whose error appears when they are opened.
    reason
        Why it is skipped, or None.
    folder
        Whether it is a folder, or a link to one.
    """

    path: str
    size: int
    reason: str | None
    folder: bool


def link_out(kind: str) -> str:
    """Return the reason to skip a link that leads out of an image or text folder."""
    return f"a link that leads out of the {kind} folder"


def is_folder(path: str | Path) -> bool:
    """Return whether a path is a folder, or a link to one; False if it cannot be accessed."""
    try:
        return Path(path).is_dir()
    except OSError:
        return False


def is_regular(path: str | Path) -> bool:
    """Return whether a path is a regular file, or a link to one. Opening a pipe, for example, would wait forever."""
    try:
        return Path(path).is_file()
    except OSError:
        return False


def walk(root: str | Path, kind: str, start: str = "") -> Iterator[Entry]:
    """Yield all files and folders below a folder, at any depth and in no particular order.

    Entries that are skipped, such as links to folders, carry the reason. ``start`` itself is yielded only if it is
    skipped.

    Parameters
    ----------
    root
        The folder.
    kind
        image or text, for messages.
    start
        Subfolder to start in, relative to ``root``; empty for all of ``root``.
    """
    inside = os.path.realpath(root)
    if start and (Path(root) / start).is_symlink():
        yield Entry(start, 0, LINK_TO_FOLDER, True)
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
        for dir_entry, path in listed:
            entry = _look_at(dir_entry, path, inside, kind)
            if entry.folder and entry.reason is None:
                waiting.append(path)
            yield entry


def sort_out(
    entries: Iterable[Entry], called: Callable[[str], bool], against: Callable[[Entry], str | None]
) -> tuple[list[Entry], list[Skipped]]:
    """Split the entries of a folder into files to use and skipped entries, both sorted by path.

    A folder with the name of a file is reported as skipped if none of its files is used.

    Parameters
    ----------
    entries
        Entries from `walk`.
    called
        Returns whether a path has the name of an image or a text. Files with other names are neither used nor skipped.
    against
        Returns why an entry is skipped, or None.
    """
    # not by reason: an unreadable folder comes twice, once without a reason
    entries = sorted(entries, key=lambda entry: entry[:2])
    files = [entry for entry in entries if not entry.folder and called(entry.path) and against(entry) is None]
    skipped = []
    for entry in entries:
        reason = against(entry)
        if reason is None and entry.folder and called(entry.path):
            reason = None if any(file.path.startswith(f"{entry.path}/") for file in files) else "a folder"
        if reason is not None and (entry.folder or called(entry.path)):
            skipped.append(Skipped(printable(entry.path), reason))
    return files, skipped


def _unreadable(path: str, error: OSError, whole: str | Path) -> Entry:
    return Entry(path, 0, f"a folder that cannot be read ({describe_error(error, whole)})", True)


def _look_at(entry: os.DirEntry[str], path: str, inside: str, kind: str) -> Entry:
    try:
        status = entry.stat()
    except OSError as error:
        if entry.is_dir(follow_symlinks=False):  # known from the listing, even if the entry's path is too long
            return _unreadable(path, error, entry.path)
        status = None
    folder = status is not None and stat.S_ISDIR(status.st_mode)
    if entry.is_symlink():
        if os.path.commonpath([os.path.realpath(entry.path), inside]) != inside:
            return Entry(path, 0, link_out(kind), folder)
        if folder:
            return Entry(path, 0, LINK_TO_FOLDER, True)
    if status is None:
        return Entry(path, -1, None, False)
    if folder or stat.S_ISREG(status.st_mode):
        return Entry(path, status.st_size, None, folder)
    return Entry(path, 0, NO_FILE, False)
