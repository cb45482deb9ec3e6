"""Folders that only their owner can reach, for unfinished files in places where other users may write.

Whoever may write to a folder can put links into it and rename what is there. So unfinished files lie in a folder of
mode 0700 with a random name. They are reached through its open descriptor: a link that takes its name is not followed.
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
"""Bytes of a name that file systems take."""
MARK = ".unfinished"
"""A file in each private folder: a folder that another user gave such a name has none, and is not removed."""
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


class Private(NamedTuple):
    """A folder that only this user can reach."""

    descriptor: int
    path: Path
    """Leads to the folder, whatever has its name by now."""
    mode: int
    """Permissions of a new file, by the umask and the parent's access list."""


@contextmanager
def private_folder(beside: Path) -> Iterator[Private]:
    """Make a private folder beside a path, and remove it with its content when the block ends.

    A process that is killed in the block leaves the folder; `remove_leftovers` removes it. The process holds a lock on
    the folder, which the system releases when the process ends.

    Raises
    ------
    OSError
        Naming ``beside``, if the folder cannot be made, or another user replaced it.
    """
    try:
        beside.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(beside)
        folder, descriptor = _made(beside)
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

    Only this user's folders from this boot of this machine whose lock is free. Locks of one kernel see each other
    across containers, and on every file system. Over a network they may not, so a folder of another machine, or from
    before a reboot, stays.
    """
    name = re.compile(rf"{re.escape(_prefix(path))}[a-z0-9_]+\.part")
    for found in path.parent.iterdir():
        if not name.fullmatch(found.name):
            continue
        try:
            descriptor = os.open(found, _FOLDER)
        except OSError:  # another user's, or a link
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            status = os.fstat(descriptor)
            if status.st_uid == os.geteuid() and not status.st_mode & 0o077:
                if MARK in _names(descriptor):
                    _empty(descriptor)
                found.rmdir()
        except OSError:  # its writer lives
            continue
        finally:
            os.close(descriptor)


@contextmanager
def own_folder(path: Path) -> Iterator[Path]:
    """Open a folder with a fixed name that only this user can reach, and yield a path that leads to it.

    It is made if it is missing, and removed at the end if it is empty.

    Raises
    ------
    OSError
        Naming it, if another user made it, or it is a link or a file.
    """
    with suppress(FileExistsError):
        path.mkdir(0o700)
    try:
        descriptor = os.open(path, _FOLDER)
    except NotADirectoryError as error:  # a link, too
        raise NotADirectoryError(error.errno, "is a link or a file, expected a folder; remove it", str(path)) from None
    try:
        try:
            _marked(descriptor, path)
            os.unlink(MARK, dir_fd=descriptor)
        except OSError as error:  # which names the mark alone
            error.filename = str(path)
            raise
        if os.fstat(descriptor).st_mode & 0o077:  # made by an earlier version
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
    """Return a path that leads to an open folder even if its name is given to another one."""
    path = Path(f"/proc/self/fd/{descriptor}")
    return path if path.is_dir() else folder


def hidden(path: Path, ending: str) -> Path:
    """Return a hidden path beside another one. If its name is too long for a file system, a digest replaces it."""
    name = os.fsencode(path.name)
    short = hashlib.sha256(name).hexdigest()[:32] if len(name) + len(ending) + 1 > MOST_BYTES else path.name
    return path.with_name(f".{short}{ending}")


def open_lock(path: Path) -> int:
    """Open a file to lock, made if it is missing. Nothing is written to it, and a link is not followed.

    Raises
    ------
    OSError
        Naming it, if it is a link or cannot be opened.
    """
    if path.is_symlink():
        raise FileExistsError(errno.EEXIST, "is a link, expected a file to lock; remove it", str(path))
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)


def _made(beside: Path) -> tuple[Path, int]:
    """Return a new private folder, open and locked."""
    while True:
        folder = Path(tempfile.mkdtemp(".part", _prefix(beside), beside.parent))
        try:
            descriptor = os.open(folder, _FOLDER)
        except FileNotFoundError:  # somebody took it for a leftover, since it was not locked yet
            continue
        with suppress(OSError):  # without locks nobody can take it for a leftover
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            # empty: another user may have given its name to a folder with files
            if os.path.samestat(os.fstat(descriptor), folder.lstat()) and not _names(descriptor):
                return folder, descriptor
        os.close(descriptor)


def _marked(descriptor: int, path: Path) -> int:
    """Make the mark in a folder, and return the permissions of a new file there.

    A file tells whose folder it is: file systems over a network may give this user's files to another name.

    Raises
    ------
    PermissionError
        Naming ``path``, if the folder is another user's.
    """
    with suppress(FileNotFoundError):  # of a process that was killed, or another user's
        os.unlink(MARK, dir_fd=descriptor)
    file = os.open(MARK, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666, dir_fd=descriptor)
    try:
        status = os.fstat(file)
    finally:
        os.close(file)
    if status.st_uid != os.fstat(descriptor).st_uid:
        os.unlink(MARK, dir_fd=descriptor)
        said = "its folder for unfinished files belongs to another user; remove that, or write elsewhere"
        raise PermissionError(errno.EACCES, said, str(path))
    return stat.S_IMODE(status.st_mode) & 0o777


def _names(descriptor: int) -> list[str]:
    return os.listdir(descriptor)  # of a descriptor, which pathlib does not take


def _empty(descriptor: int) -> None:
    """Remove what is in a folder, the mark last."""
    for name in sorted(_names(descriptor), key=MARK.__eq__):
        try:
            os.unlink(name, dir_fd=descriptor)
        except OSError:
            shutil.rmtree(name, ignore_errors=True, dir_fd=descriptor)


def _prefix(path: Path) -> str:
    """Return how the names of private folders for a path begin on this machine."""
    random, end = "x" * 8, ".part"  # as mkdtemp makes them
    return hidden(path, f".{_boot()}.{random}{end}").name.removesuffix(f"{random}{end}")


@cache
def _boot() -> str:
    """Return a name for this boot of this machine, the same in all of its containers."""
    try:
        boot = _BOOT_ID.read_text(encoding="ascii")
    except OSError:  # no Linux: leftovers are not told from the work of other machines, and stay
        return uuid.uuid4().hex[:12]
    return hashlib.sha256(boot.encode()).hexdigest()[:12]
