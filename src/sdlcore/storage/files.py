"""Write files atomically, lock them, and notice files that change while they are read."""

import csv
import errno
import glob
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from sdlcore.errors import SourceError

REMEDIES = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room",
    errno.EFBIG: "raise the limit on file sizes (ulimit -f)",
}
"""What to do about the errors of a full disk, of a quota and of the limit on file sizes."""


def user_path(path: str | os.PathLike[str], name: str = "path") -> Path:
    """Return a path with ``~`` replaced by the home folder; ValueError, with the argument's ``name``, if it is empty.

    Python would take an empty path for the working folder.
    """
    if not (text := os.fspath(path)):
        raise ValueError(f"{name} is empty, expected a path; the working folder is '.'")
    return Path(os.path.expanduser(text))  # noqa: PTH111, pathlib's expanduser raises if the user does not exist


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path to write to, and move the file to ``path`` when the block ends without an exception.

    The temporary file is in a hidden folder beside ``path``. A process that is killed inside the block leaves ``path``
    unchanged; see `remove_leftovers`. If several processes write ``path`` at once, the last one wins. The error of a
    full disk names ``path``.
    """
    path = Path(path)
    with disk_errors(path), _hidden_folder(path) as folder:
        part = folder / path.name
        part.touch()
        mode = part.stat().st_mode  # from the umask and the folder's access list
        part.unlink()
        yield part
        part.chmod(mode)  # safetensors creates files that only their owner can read
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(path)


@contextmanager
def _hidden_folder(beside: Path) -> Iterator[Path]:
    beside.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(beside)
    folder = Path(tempfile.mkdtemp(".part", f".{beside.name}.", beside.parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_leftovers(path: Path, days: float = 1) -> None:
    """Remove temporary folders that `atomic_path` created for ``path`` at least ``days`` ago, in killed processes."""
    for folder in path.parent.glob(f".{glob.escape(path.name)}.{'[!.]' * 8}.part"):  # as tempfile.mkdtemp names them
        with suppress(OSError):
            if time.time() - folder.stat().st_mtime >= 86400 * days:
                shutil.rmtree(folder)


@contextmanager
def disk_errors(path: str | Path) -> Iterator[None]:
    """Add the path and a remedy to the error of a full disk. Libraries that write files leave the path out."""
    try:
        yield
    except Exception as error:
        found = re.search(r"\(os error (\d+)\)|\berrno = (\d+)", str(error))  # messages of safetensors and HDF5
        code = getattr(error, "errno", None) or (int(found[1] or found[2]) if found else None)
        if code not in REMEDIES:
            raise
        raise OSError(code, f"{os.strerror(code)}: {REMEDIES[code]}, and run this again", str(path)) from error


def check_writable(folder: str | Path) -> None:
    """Create a folder if it is missing, write 64 KiB to it and remove them again; OSError if that fails."""
    with disk_errors(folder):
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(1 << 16))


@contextmanager
def lock(path: str | Path, seconds: float = 0) -> Iterator[None]:
    """Hold a lock on ``path``, by a hidden file beside it. The system releases the lock when the process ends.

    Wait ``seconds`` for another process or thread that holds it, -1 without end; then raise `SourceError`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.with_name(f".{path.name}.lock")
    file_lock = FileLock(file)
    try:
        file_lock.acquire(timeout=seconds)
    except Timeout as error:
        raise SourceError(
            f"{path}: another process is writing it. Wait until it ends, or choose another path."
        ) from error
    try:
        yield
    finally:
        with suppress(OSError):
            file.unlink()  # before the release, so that a waiting process notices and creates the file again
        file_lock.release()


def make_once(folder: str | Path, fill: Callable[[Path], None]) -> None:
    """Create a folder with what ``fill`` writes, if it does not exist. The folder appears whole or not at all.

    If several processes try, one creates it, and the others wait. The folder's name must identify its content, since an
    existing folder is used as it is.
    """
    folder = Path(folder)
    if folder.exists():
        return
    with lock(folder, -1), disk_errors(folder), _hidden_folder(folder) as hidden:
        if not folder.exists():  # another process may have created it meanwhile
            part = hidden / folder.name
            part.mkdir()
            fill(part)
            part.replace(folder)


def link(folder: Path, path: Path) -> None:
    """Make ``path`` a link to a folder. A relative folder gives a relative link, so that both can be moved together."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(folder if folder.is_absolute() else os.path.relpath(folder.resolve(), path.parent.resolve()))


class Unchanged:
    """Files that must not change while they are read: reads in ``with`` compare their sizes and modification times.

    A memory-mapped file that is overwritten changes numbers that were read before, and one that becomes shorter ends
    the process. HDF5 returns zeros beyond the end of a file that became shorter. `SourceError` on entry and on exit, if
    a file was written to or replaced since this object was created.
    """

    def __init__(self, *paths: str | Path) -> None:
        self._states = {Path(path): _state(Path(path)) for path in paths}

    def __enter__(self) -> None:
        for path, state in self._states.items():
            if not path.exists() or _state(path) != state:
                raise SourceError(
                    f"{path}: the file was changed while it was read; repeat the command once nothing writes to it"
                )

    def __exit__(self, *_: object) -> None:
        self.__enter__()


def _state(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def write_text(path: str | Path, text: str) -> None:
    """Write text as UTF-8, atomically."""
    with atomic_path(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: str | Path, content: Any) -> None:
    """Write ``content`` as indented JSON, atomically; ValueError for NaN and infinity, which are not JSON.

    A list of numbers is written on one line, so that long lists stay readable and small.
    """
    text = json.dumps(content, indent=2, allow_nan=False)
    text = re.sub(r"\[\n\s+([-+.\deE,\s]+?)\s+\]", lambda numbers: f"[{' '.join(numbers[1].split())}]", text)
    write_text(path, text + "\n")


def write_rows(path: str | Path, rows: Iterable[Sequence[str]]) -> None:
    """Write a CSV file, atomically."""
    with atomic_path(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def sha256_of(path: str | Path) -> str:
    """Return the hex SHA-256 of a file's bytes."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
