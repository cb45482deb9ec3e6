"""Files that are whole or absent, and that say where they came from."""

import hashlib
import json
import os
import platform
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sdlcore import __version__
from sdlcore.digest import source_digest


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a path beside ``path`` to write to; move it onto ``path`` when the block ends without an exception.

    A process that is killed inside the block leaves ``path`` as it was, absent or old.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # the suffix stays last, since some writers choose their format by it
    part = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield part
        # some writers make files that only their owner can read
        umask = os.umask(0)
        os.umask(umask)
        part.chmod(0o666 & ~umask)
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: str | Path, content: Any) -> None:
    """Write ``content`` as indented JSON, whole or not at all. NaN and infinity are refused: they are not JSON."""
    with atomic_path(path) as part:
        part.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")


def seal_json(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return JSON-able content with a checksum of itself, ``crc32``, in the place of one that it may have."""
    rest = {key: value for key, value in content.items() if key != "crc32"}
    return {**rest, "crc32": zlib.crc32(json.dumps(rest, sort_keys=True).encode())}


def sha256_of(path: str | Path) -> str:
    """Return the hex SHA-256 of a file's bytes."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def provenance(script: str | Path, **facts: Any) -> dict[str, Any]:
    """Return what made a file: ``facts`` (configuration, seed, ...), code and versions of libraries.

    ``script`` is the file whose code, with all of this package that it imports, made it.
    """
    code = source_digest(Path(script), Path(__file__).parents[1])
    versions = {"sdlcore": __version__, "python": platform.python_version()}
    for library in ("numpy", "torch", "h5py", "transformers", "open_clip_torch", "torchvision", "pillow"):
        try:
            versions[library] = version(library)
        except PackageNotFoundError:
            continue
    return {**facts, "code": code, "versions": versions}
