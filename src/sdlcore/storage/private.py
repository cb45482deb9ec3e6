"""Private folders for unfinished files in places where other users may write.

Anyone who can write to a folder can put links into it and rename its files. So unfinished files are kept in a folder of
mode 0700 with a random name. Unfinished files are accessed through the folder's open descriptor, so a link that
replaces the folder is not followed.
"""

import errno
import fcntl
import hashlib
import os
import re
import shutil
import stat
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

MOST_BYTES = 255
"""Longest file name that file systems accept, in bytes."""
MARK = ".unfinished"
"""A file in each private folder. A folder without it is not emptied, since another user may have made it."""
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


class Private(NamedTuple):
    """A folder that only this user can access."""

    descriptor: int
    path: Path
    """Path through the descriptor; it stays valid if the folder is renamed."""
    mode: int
    """Permissions of a new file, from the umask and the parent's access list."""


@contextmanager
def private_folder(beside: Path) -> Iterator[Private]:
    """Create a private folder beside a path, and remove it with its content when the block ends.

    A process that is killed in the block leaves the folder; `remove_leftovers` removes it. The process holds a lock on
    the folder, which the system releases when the process ends.

    Raises
    ------
    OSError
        If the folder cannot be created, or another user replaced it; the message names ``beside``.
    """
    try:
        beside.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(beside)
        folder, descriptor = _create_locked(beside)
    except OSError as error:
        error.filename = str(beside) if error.filename else None
        raise
    try:
        yield Private(descriptor, reached(descriptor, folder), _marked(descriptor, beside))
    finally:
        _empty(descriptor)
        with suppress(OSError):  # another user may have renamed it
            folder.rmdir()
        os.close(descriptor)


def remove_leftovers(path: Path) -> None:
    """Remove private folders beside ``path`` whose writers were killed.

    The function removes only this user's folders that were created since this machine booted and whose lock is free.
    Locks of one kernel are visible across containers and on every file system, but locks over a network may not be. So
    folders from another machine, or from before a reboot, stay.
    """
    name = re.compile(rf"{re.escape(_prefix(path))}[a-z0-9_]+\.part")
    for folder in path.parent.iterdir():
        if not name.fullmatch(folder.name):
            continue
        try:
            descriptor = os.open(folder, _FOLDER)
        except OSError:  # another user's folder, or a link
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            status = os.fstat(descriptor)
            if status.st_uid == os.geteuid() and not status.st_mode & 0o077:
                if MARK in _names(descriptor):
                    _empty(descriptor)
                folder.rmdir()
        except OSError:  # its writer is still running
            continue
        finally:
            os.close(descriptor)


@contextmanager
def own_folder(path: Path) -> Iterator[Path]:
    """Open a folder with a fixed name that only this user can access, and yield a path to it.

    The folder is created if it is missing, and removed at the end if it is empty.

    Raises
    ------
    OSError
        If another user made the folder, or the path is a link or a file; the message names it.
    """
    with suppress(FileExistsError):
        path.mkdir(0o700)
    try:
        descriptor = os.open(path, _FOLDER)
    except NotADirectoryError as error:  # raised for links too
        raise NotADirectoryError(error.errno, "is a link or a file, expected a folder; remove it", str(path)) from None
    try:
        try:
            _marked(descriptor, path)
            os.unlink(MARK, dir_fd=descriptor)
        except OSError as error:  # it names only the mark
            error.filename = str(path)
            raise
        if os.fstat(descriptor).st_mode & 0o077:  # created by an earlier version
            with suppress(PermissionError):  # file systems without permissions
                os.fchmod(descriptor, 0o700)
        try:
            yield reached(descriptor, path)
        finally:
            if not _names(descriptor):
                path.rmdir()
    finally:
        os.close(descriptor)


def reached(descriptor: int, folder: Path) -> Path:
    """Return a path to an open folder that stays valid if the folder is renamed or replaced."""
    path = Path(f"/proc/self/fd/{descriptor}")
    return path if path.is_dir() else folder


def hidden(path: Path, ending: str) -> Path:
    """Return a hidden path beside ``path``: a dot, its name and ``ending``; a digest if too long."""
    name = os.fsencode(path.name)
    short = hashlib.sha256(name).hexdigest()[:32] if len(name) + len(ending) + 1 > MOST_BYTES else path.name
    return path.with_name(f".{short}{ending}")


def open_lock(path: Path) -> int:
    """Open a lock file, creating it if it is missing. The lock file stays empty; a link at the path is an error.

    Raises
    ------
    OSError
        If the path is a link or cannot be opened; the message names it.
    """
    if path.is_symlink():
        raise FileExistsError(errno.EEXIST, "is a link, expected a file to lock; remove it", str(path))
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)


def _create_locked(beside: Path) -> tuple[Path, int]:
    """Create a private folder and return its path and its open, locked descriptor."""
    while True:
        folder = Path(tempfile.mkdtemp(".part", _prefix(beside), beside.parent))
        try:
            descriptor = os.open(folder, _FOLDER)
        except FileNotFoundError:  # another process removed it as a leftover before it was locked
            continue
        with suppress(OSError):  # on a file system without locks nobody removes it as a leftover
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            # must be empty, since another user may have renamed a folder with files to its name
            if os.path.samestat(os.fstat(descriptor), folder.lstat()) and not _names(descriptor):
                return folder, descriptor
        os.close(descriptor)


def _marked(descriptor: int, path: Path) -> int:
    """Create the mark in a folder, and return the permissions of a new file there.

    The folder's owner is compared with the owner of this new file, not with the user, because network file systems may
    store this user's files under another name.

    Raises
    ------
    PermissionError
        If the folder belongs to another user; the message names ``path``.
    """
    with suppress(FileNotFoundError):  # left by a killed process, or by another user
        os.unlink(MARK, dir_fd=descriptor)
    file = os.open(MARK, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666, dir_fd=descriptor)
    try:
        status = os.fstat(file)
    finally:
        os.close(file)
    if status.st_uid != os.fstat(descriptor).st_uid:
        os.unlink(MARK, dir_fd=descriptor)
        problem = "its folder for unfinished files belongs to another user; remove that, or write elsewhere"
        raise PermissionError(errno.EACCES, problem, str(path))
    return stat.S_IMODE(status.st_mode) & 0o777


def _names(descriptor: int) -> list[str]:
    return os.listdir(descriptor)  # pathlib cannot list a descriptor


def _empty(descriptor: int) -> None:
    """Remove everything in a folder, the mark last."""
    for name in sorted(_names(descriptor), key=MARK.__eq__):
        try:
            os.unlink(name, dir_fd=descriptor)
        except OSError:
            shutil.rmtree(name, ignore_errors=True, dir_fd=descriptor)


def _prefix(path: Path) -> str:
    """Return the first part of the names of private folders for a path on this machine."""
    random, end = "x" * 8, ".part"  # the random part and the ending that mkdtemp adds
    return hidden(path, f".{_boot()}.{random}{end}").name.removesuffix(f"{random}{end}")


@cache
def _boot() -> str:
    """Return an identifier of this boot of this machine, the same in all of its containers."""
    try:
        boot = _BOOT_ID.read_text(encoding="ascii")
    except OSError:  # not Linux: leftovers stay, since they cannot be distinguished from files of other machines
        return uuid.uuid4().hex[:12]
    return hashlib.sha256(boot.encode()).hexdigest()[:12]
