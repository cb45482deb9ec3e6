"""Share cache folders between checkouts. Each shared folder is created once, under a lock, and never removed.

Snakemake removes outputs before a job and after a failed one. So an output must not be a shared folder, but a link to
it.
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
    """Create a folder if it does not exist. If several processes try, one creates it and the others wait.

    Parameters
    ----------
    folder
        The folder. The folder's name must identify its content, since an existing folder is used as it is.
    make
        Function that creates the folder atomically (`sdlcore.storage.files.atomic_folder`).
    """
    folder = Path(folder)
    if folder.exists():
        return
    with locked(folder):
        if not folder.exists():  # another process may have created it meanwhile
            make(folder)


def link(folder: str | Path, path: str | Path) -> None:
    """Make ``path`` a link to a folder. A relative folder gives a relative link, so that both can be moved together.

    Raises
    ------
    OSError
        If ``path`` is a folder.
    """
    folder, path = Path(folder), Path(path)
    target = folder if folder.is_absolute() else os.path.relpath(folder.resolve(), path.parent.resolve())
    with private_folder(path) as private:
        part = private / path.name
        part.symlink_to(target)
        part.replace(path)


@contextmanager
def locked(path: str | Path) -> Iterator[None]:
    """Hold a lock on ``path`` against other processes that may create it; log a message and wait if it is taken.

    The lock is a hidden file beside ``path``, which is not removed. The system releases it when the process ends.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = open_lock(hidden(path, ".lock"))
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("%s: another process is creating it; waiting", path)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
