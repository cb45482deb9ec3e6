"""Join CSV files with equal headings into one."""

from pathlib import Path

from sdlcore.command_line import cli
from sdlcore.storage.files import write_text


def main(*, tables: list[Path], output: Path) -> None:
    """
    Args:
        tables: CSV files, in order
        output: CSV file to write
    """
    read = [path.read_bytes().decode().partition("\n") for path in tables]  # bytes keep line breaks within cells
    write_text(output, read[0][0] + "\n" + "".join(rows for _, _, rows in read))


if __name__ == "__main__":
    cli(main)
