"""Write files atomically."""

import csv
import errno
import hashlib
import json
import os
import re
import stat
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sdlcore.errors import SourceError
from sdlcore.storage.private import private_folder

ROOM = {errno.ENOSPC: "make room", errno.EDQUOT: "make room", errno.EFBIG: "raise the limit on file sizes (ulimit -f)"}
"""Errors of a full disk -> the remedy."""


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path to write to, and move the file to ``path`` when the block ends without an exception.

    The temporary file is in a hidden folder beside ``path``. A process that is killed inside the block leaves ``path``
    unchanged; its temporary file stays until the next process on this machine writes ``path``. If several processes
    write ``path`` at once, the last one wins.

    Raises
    ------
    OSError
        If the disk is full, or the file exceeds the limit on file sizes; the message names ``path``.
    """
    path = Path(path)
    with naming_a_full_disk(path), private_folder(path) as folder, _named(path, folder):
        part = folder / path.name
        part.touch()
        mode = stat.S_IMODE(part.stat().st_mode)  # from the umask and the folder's access list
        part.unlink()
        yield part
        file = os.open(part, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            os.fchmod(file, mode)  # some writers create files that only their owner can read
            os.fsync(file)
        finally:
            os.close(file)
        part.replace(path)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yield a new folder to fill, and move it to ``path`` when the block ends without an exception.

    ``path`` must not exist, or be an empty folder. A process that is killed inside the block leaves ``path`` unchanged.
    """
    path = Path(path)
    with naming_a_full_disk(path), private_folder(path) as folder, _named(path, folder):
        part = folder / path.name
        part.mkdir()
        yield part
        part.replace(path)


@contextmanager
def _named(path: Path, folder: Path) -> Iterator[None]:
    """Replace names of temporary files in an OSError by ``path``."""
    try:
        yield
    except OSError as error:
        if isinstance(error.filename, str) and Path(error.filename).is_relative_to(folder):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


@contextmanager
def naming_a_full_disk(path: str | Path) -> Iterator[None]:
    """Add the path and a remedy to the error of a full disk or of a file that exceeds the limit on file sizes.

    Libraries that write files leave them out.
    """
    try:
        yield
    except Exception as error:
        # the messages of safetensors and HDF5
        match = re.search(r"\(os error (\d+)\)|\berrno = (\d+)", str(error))
        code = getattr(error, "errno", None) or (match and int(match[1] or match[2]))
        if code not in ROOM or getattr(error, "filename", None) not in (None, str(path)):
            raise
        raise OSError(code, f"{os.strerror(code)}: {ROOM[code]}, and run this again", str(path)) from error


def check_writable(folder: str | Path) -> None:
    """Check that a folder is writable: create it if it is missing, write 64 KiB to it and remove them again.

    Raises
    ------
    OSError
        If the test fails; the message names the folder and a remedy.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(1 << 16))
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        remedy = ROOM.get(error.errno or 0, "choose a folder that can be written")
        raise OSError(error.errno, f"{why}: {remedy}, and run this again", str(folder)) from error


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
    """Write a CSV file, atomically. `csv.reader` reads the same cells back, including line breaks in them."""
    with atomic_path(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        plain = csv.writer(file, lineterminator="\n")
        quoted = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
        for row in rows:  # csv quotes a cell with its own line terminator, but not one with "\r"
            (quoted if any("\r" in cell for cell in row) else plain).writerow(row)


class Unchanged:
    """Files that must not change while they are read: reads in ``with`` compare their sizes and modification times.

    A memory-mapped file that is overwritten changes numbers that were read before, and one that becomes shorter ends
    the process. HDF5 returns zeros beyond the end of a file that became shorter.

    Raises
    ------
    SourceError
        On entry and on exit, if a file was written to or replaced since this object was created.
    """

    def __init__(self, *paths: str | Path) -> None:
        self._states = {Path(path): _state(Path(path)) for path in paths}

    def check(self) -> None:
        for path, state in self._states.items():
            if not path.exists() or _state(path) != state:
                raise SourceError(
                    f"{path}: the file was changed while it was read; repeat the command once nothing writes to it"
                )

    def __enter__(self) -> None:
        self.check()

    def __exit__(self, *_: object) -> None:
        self.check()


def _state(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def sha256_of(path: str | Path) -> str:
    """Return the hex SHA-256 of a file's bytes."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
