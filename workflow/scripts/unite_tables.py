"""Write one CSV file with the rows of several that have equal headings."""

import argparse
import csv
from pathlib import Path

from sdlcore.files import atomic_path


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", required=True, nargs="+", type=Path, help="CSV files, in order")
    parser.add_argument("--output", required=True, type=Path, help="CSV file to write")
    args = parser.parse_args(argv)
    tables = [list(csv.reader(path.read_text(encoding="utf-8").splitlines())) for path in args.tables]
    with atomic_path(args.output) as part, part.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([tables[0][0], *(row for t in tables for row in t[1:])])


if __name__ == "__main__":
    main()
