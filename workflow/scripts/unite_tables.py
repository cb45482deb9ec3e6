"""Join CSV files with equal headings into one."""

from pathlib import Path

from sdlcore.command_line import cli
from sdlcore.storage.files import read_rows, write_rows


def main(*, tables: list[Path], output: Path) -> None:
    """
    Args:
        tables: CSV files, in order
        output: CSV file to write
    """
    read = [read_rows(path) for path in tables]
    write_rows(output, [read[0][0], *(row for table in read for row in table[1:])])


if __name__ == "__main__":
    cli(main)
