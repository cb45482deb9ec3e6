"""Copy activations from the user's files into activation stores."""

from pathlib import Path

from sdlcore.command_line import cli
from sdlcore.sources.files.extraction import write_file_stores
from sdlcore.sources.files.settings import FileSource


def main(*, source: FileSource, train: Path, test: Path) -> None:
    """
    Args:
        source: settings of the source
        train: training store to write
        test: evaluation store to write
    """
    write_file_stores(source, train, test)


if __name__ == "__main__":
    cli(main, log="%(asctime)s %(levelname)s %(message)s")
