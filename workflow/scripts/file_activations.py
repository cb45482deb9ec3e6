"""Write activations that lie in files already to activation stores."""

from pathlib import Path
from typing import Any

from sdlcore.command_line import cli
from sdlcore.sources.files.extraction import FileSource, write_stores


def main(*, source: dict[str, Any], train: Path, test: Path) -> None:
    """
    Args:
        source: settings of FileSource
        train: training store to write
        test: evaluation store to write
    """
    write_stores(FileSource(**source), train, test)


if __name__ == "__main__":
    cli(main, log="%(asctime)s %(levelname)s %(message)s")
