"""Write one CSV file with the rows of several that have equal headings."""

import argparse
from pathlib import Path

from sdlcore.storage.files import read_rows, write_rows


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", required=True, nargs="+", type=Path, help="CSV files, in order")
    parser.add_argument("--output", required=True, type=Path, help="CSV file to write")
    args = parser.parse_args(argv)
    tables = [read_rows(path) for path in args.tables]
    write_rows(args.output, [tables[0][0], *(row for table in tables for row in table[1:])])


if __name__ == "__main__":
    main()
