"""Hidden folders for unfinished files, the removal of folders that killed writers left, and lock files."""

import fcntl
import hashlib
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@contextmanager
def private_folder(beside: Path) -> Iterator[Path]:
    """Create a hidden folder beside a path, of mode 0700, and remove it with its content when the block ends.

    A process that is killed in the block leaves the folder; `remove_leftovers` removes it. The process holds a lock on
    the folder, which the system releases when the process ends.

    Raises
    ------
    OSError
        If the folder cannot be created; the message names ``beside``.
    """
    try:
        beside.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(beside)
        folder, lock = _create_locked(beside)
    except OSError as error:
        error.filename = str(beside) if error.filename else None
        raise
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def remove_leftovers(path: Path) -> None:
    """Remove private folders beside ``path`` whose writers were killed.

    The function removes only folders that were created since this machine booted and whose lock is free. Locks of one
    kernel are visible across containers and on every file system, but locks over a network may not be. So folders from
    another machine, or from before a reboot, stay.
    """
    name = re.compile(rf"{re.escape(_prefix(path))}[a-z0-9_]+\.part")
    for folder in path.parent.iterdir():
        if not name.fullmatch(folder.name):
            continue
        with suppress(OSError):  # its writer is still running, or it belongs to another user
            lock = _open_folder(folder)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
            finally:
                os.close(lock)


def hidden(path: Path, ending: str) -> Path:
    """Return a hidden path beside ``path``: a dot, its name and ``ending``."""
    return path.with_name(f".{path.name}{ending}")


def open_lock(path: Path) -> int:
    """Open a lock file, creating it if it is missing. The lock file stays empty; a link at the path is an error."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)


def _create_locked(beside: Path) -> tuple[Path, int]:
    """Create a private folder and return its path and its open, locked descriptor."""
    while True:
        folder = Path(tempfile.mkdtemp(".part", _prefix(beside), beside.parent))
        with suppress(FileNotFoundError):  # another process removed it as a leftover before it was locked
            lock = _open_folder(folder)
            with suppress(OSError):  # on a file system without locks nobody removes it as a leftover
                fcntl.flock(lock, fcntl.LOCK_EX)
            if folder.exists():
                return folder, lock
            os.close(lock)


def _open_folder(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)


def _prefix(path: Path) -> str:
    """Return the first part of the names of private folders for a path on this machine."""
    return hidden(path, f".{_boot()}.").name


@cache
def _boot() -> str:
    """Return an identifier of this boot of this machine, the same in all of its containers."""
    with suppress(OSError):
        return hashlib.sha256(_BOOT_ID.read_bytes()).hexdigest()[:12]
    # not Linux: leftovers stay, since they cannot be distinguished from files of other machines
    return uuid.uuid4().hex[:12]
