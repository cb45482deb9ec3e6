"""Write files whole or not at all, and note what made them."""

import csv
import errno
import hashlib
import json
import os
import platform
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sdlcore.storage.digest import source_digest
from sdlcore.storage.private import private_folder


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a path in a private folder beside ``path`` to write to; move the file there when the block ends well.

    A process that is killed inside the block leaves ``path`` as it was, absent or old. What it had written stays beside
    it until the next one on this machine writes ``path``. Of several that write it at once, the last one wins.

    Raises
    ------
    OSError
        Naming ``path``, if the disk is full.
    """
    path = Path(path)
    with naming_a_full_disk(path), private_folder(path) as private:
        part = private.path / path.name
        with _called(path, part):
            yield part
        file = os.open(path.name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=private.descriptor)
        try:
            os.fchmod(file, private.mode)  # some writers make files that only their owner can read
            os.fsync(file)
        finally:
            os.close(file)
        _move(private.descriptor, path)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Give a new folder to fill, which becomes ``path`` when the block ends without an exception.

    Nothing but an empty folder may be there. As for `atomic_path`, a kill leaves nothing at ``path``.
    """
    path = Path(path)
    with naming_a_full_disk(path), private_folder(path) as private:
        os.mkdir(path.name, dir_fd=private.descriptor)
        part = private.path / path.name
        with _called(path, part):
            yield part
        _move(private.descriptor, path)


def _move(folder: int, path: Path) -> None:
    """Move a finished file or folder out of its private folder; OSError naming ``path`` alone."""
    try:
        os.replace(path.name, path, src_dir_fd=folder)
    except OSError as error:
        raise OSError(error.errno, os.strerror(error.errno or 0), str(path)) from error


@contextmanager
def _called(path: Path, part: Path) -> Iterator[None]:
    """Let an error over an unfinished file name the file that is being written."""
    try:
        yield
    except OSError as error:
        if isinstance(error.filename, str) and Path(error.filename).is_relative_to(part.parent):
            error.filename = str(path)
        raise


@contextmanager
def naming_a_full_disk(path: str | Path) -> Iterator[None]:
    """Let an error of a disk that is full say for what, which libraries that write files leave out."""
    try:
        yield
    except Exception as error:
        # of safetensors and of HDF5
        said = re.search(r"\(os error (\d+)\)|\berrno = (\d+)", str(error))
        code = getattr(error, "errno", None) or (said and int(said[1] or said[2]))
        if code not in (errno.ENOSPC, errno.EDQUOT) or getattr(error, "filename", None) not in (None, str(path)):
            raise
        raise OSError(code, f"{os.strerror(code)}: make room, and run this again", str(path)) from error


def check_writable(folder: str | Path) -> None:
    """Write 64 KiB into a folder, which is made where it is missing, and remove them again.

    Raises
    ------
    OSError
        Naming the folder and what to do, if they cannot be written.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(1 << 16))
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        remedy = "make room" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "make it a folder that can be written"
        raise OSError(error.errno, f"{why}: {remedy}, and run this again", str(folder)) from error


def write_text(path: str | Path, text: str) -> None:
    """Write text as UTF-8, whole or not at all."""
    with atomic_path(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: str | Path, content: Any) -> None:
    """Write ``content`` as indented JSON, whole or not at all. NaN and infinity are refused: they are not JSON.

    A list of numbers takes one line, so that a thousand of them stay readable and small.
    """
    text = json.dumps(content, indent=2, allow_nan=False)
    text = re.sub(r"\[\n\s+([-+.\deE,\s]+?)\s+\]", lambda numbers: f"[{' '.join(numbers[1].split())}]", text)
    write_text(path, text + "\n")


def write_rows(path: str | Path, rows: Iterable[Sequence[str]]) -> None:
    """Write a CSV file, whole or not at all, that `read_rows` reads back, whatever line breaks its cells hold."""
    with atomic_path(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        plain = csv.writer(file, lineterminator="\n")
        quoted = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
        for row in rows:  # of what ends lines, csv quotes only what it ends them by itself
            (quoted if any("\r" in cell for cell in row) else plain).writerow(row)


def read_rows(path: str | Path) -> list[list[str]]:
    """Return the rows of a CSV file."""
    with Path(path).open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def sha256_of(path: str | Path) -> str:
    """Return the hex SHA-256 of a file's bytes."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def provenance(script: str | Path, parts: Iterable[str] = (), **facts: Any) -> dict[str, Any]:
    """Return the provenance of a file: ``facts`` (configuration, seed, ...), code and versions of libraries.

    The digest of the code stands for this package, so that a release that changes nothing here makes nothing anew.

    ``script`` is the file whose code, with all of this package that it imports, made it; ``parts`` are modules that it
    imports by names in its settings.
    """
    code = source_digest(Path(script), Path(__file__).parents[2], parts)
    versions = {"python": platform.python_version()}
    for library in ("numpy", "torch", "h5py", "transformers", "open_clip_torch", "torchvision", "pillow"):
        try:
            versions[library] = version(library)
        except PackageNotFoundError:
            continue
    return {**facts, "code": code, "versions": versions}
