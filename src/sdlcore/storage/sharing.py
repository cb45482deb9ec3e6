"""Share folders of a cache between checkouts: made once, under a lock, and never removed.

Snakemake removes outputs before a job and after one that failed, so no output may be such a folder; a link to it may.
"""

import fcntl
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sdlcore.storage.private import hidden, open_lock, private_folder

log = logging.getLogger(__name__)


def made_once(folder: str | Path, make: Callable[[Path], None]) -> None:
    """Have a folder made if it is not there yet. Of several processes one makes it, and the others wait.

    Parameters
    ----------
    folder
        Its name has to say all that its content hangs on.
    make
        Makes it, whole or not at all (`sdlcore.storage.files.atomic_folder`).
    """
    folder = Path(folder)
    if folder.exists():
        return
    with locked(folder):
        if not folder.exists():  # by now
            make(folder)


def link(folder: str | Path, path: str | Path) -> None:
    """Make ``path`` a link to a folder: a relative one, if the folder's path is, so that both can be moved together.

    Raises
    ------
    OSError
        If something other than a link is at ``path``.
    """
    folder, path = Path(folder), Path(path)
    target = folder if folder.is_absolute() else os.path.relpath(folder.resolve(), path.parent.resolve())
    with private_folder(path) as private:
        os.symlink(target, path.name, dir_fd=private.descriptor)
        os.replace(path.name, path, src_dir_fd=private.descriptor)


@contextmanager
def locked(path: str | Path) -> Iterator[None]:
    """Hold the lock on what several processes may come to make at ``path``; wait, and say so, while another has it.

    The lock is a hidden file beside it, which stays; the system takes it from a process that ends, however it does.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = open_lock(hidden(path, ".lock"))
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("%s: another process is making it; waiting", path)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
