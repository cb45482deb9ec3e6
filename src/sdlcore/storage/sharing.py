"""Share folders of a cache between checkouts: made once, under a lock, and never removed.

Snakemake removes outputs before a job and after one that failed, so no output may be such a folder; a link to it may.
"""

import fcntl
import glob
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

log = logging.getLogger(__name__)


def made_once(folder: str | Path, make: Callable[[Path], None]) -> None:
    """Have a folder made if it is not there yet. Of several processes one makes it, and the others wait.

    Parameters
    ----------
    folder
        Its name has to say all that its content hangs on.
    make
        Makes it, whole or not at all, by way of ``.<name>.<process>.part`` beside it.
    """
    folder = Path(folder)
    if folder.exists():
        return
    with locked(folder):
        if not folder.exists():  # by now
            # of processes that were killed: none that lives is without the lock
            for left in folder.parent.glob(f".{glob.escape(folder.name)}.*.part"):
                shutil.rmtree(left)
            make(folder)


def link(folder: str | Path, path: str | Path) -> None:
    """Make ``path`` a link to a folder: a relative one, if the folder's path is, so that both can be moved together.

    Raises
    ------
    OSError
        If something other than a link is at ``path``.
    """
    folder, path = Path(folder), Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    target = folder if folder.is_absolute() else os.path.relpath(folder.resolve(), path.parent.resolve())
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.unlink(missing_ok=True)
    part.symlink_to(target, target_is_directory=True)
    part.replace(path)


@contextmanager
def locked(path: str | Path) -> Iterator[None]:
    """Hold the lock on what several processes may come to make at ``path``; wait, and say so, while another has it.

    The lock is a hidden file beside it, which stays; the system takes it from a process that ends, however it does.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("%s: another process is making it; waiting", path)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
