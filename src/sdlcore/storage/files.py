"""Write files whole or not at all, and note what made them."""

import csv
import errno
import hashlib
import json
import os
import platform
import re
import shutil
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sdlcore.settings import Json
from sdlcore.storage.digest import source_digest


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a path in a folder beside ``path`` to write to; move it there when the block ends without an exception.

    A process that is killed inside the block leaves ``path`` as it was, absent or old. What it had written stays beside
    it until the next one writes ``path``.

    Raises
    ------
    OSError
        Naming ``path``, if the disk is full.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path)
    # a folder, since safetensors writes to a file of its own naming first; the suffix stays, which some writers go by
    folder = path.with_name(f".{path.name}.{os.getpid()}.part")
    folder.mkdir(exist_ok=True)
    part = folder / f".{path.name}"
    try:
        with naming_a_full_disk(path):
            yield part
        # some writers make files that only their owner can read; asking for the umask would change it for all threads
        part.chmod(0o666 & folder.stat().st_mode)
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_leftovers(path: Path) -> None:
    """Remove what killed processes left of their attempts to write ``path``, and nothing of processes that live."""
    name = re.compile(rf"\.{re.escape(path.name)}\.(\d+)\.part")
    for found in path.parent.iterdir():
        match = name.fullmatch(found.name)
        if match and not _is_alive(int(match[1])):
            shutil.rmtree(found, ignore_errors=True)  # another user's, perhaps


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        return True
    try:  # one that nobody waits for, as in containers, stays in the table of processes
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:  # no Linux
        return True


@contextmanager
def naming_a_full_disk(path: str | Path) -> Iterator[None]:
    """Let an error of a disk that is full say for what, which libraries that write files leave out."""
    try:
        yield
    except Exception as error:
        # of safetensors and of HDF5
        said = re.search(r"\(os error (\d+)\)|\berrno = (\d+)", str(error))
        code = getattr(error, "errno", None) or (said and int(said[1] or said[2]))
        if code not in (errno.ENOSPC, errno.EDQUOT) or getattr(error, "filename", None):
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


def seal_json(content: Mapping[str, Json]) -> dict[str, Json]:
    """Return JSON-able content with a checksum of itself, ``crc32``, in the place of one that it may have."""
    rest = {key: value for key, value in content.items() if key != "crc32"}
    return {**rest, "crc32": zlib.crc32(json.dumps(rest, sort_keys=True).encode())}


def sha256_of(path: str | Path) -> str:
    """Return the hex SHA-256 of a file's bytes."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def provenance(script: str | Path, parts: Iterable[str] = (), **facts: Any) -> dict[str, Any]:
    """Return what made a file: ``facts`` (configuration, seed, ...), code and versions of libraries.

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
