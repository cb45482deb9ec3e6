"""Write the index that makes one store of shards, and one list of what was skipped of lists."""

import argparse
import csv
import logging
from pathlib import Path

from sdlcore.activations.store import unite
from sdlcore.files import atomic_path, provenance


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", required=True, nargs="+", type=Path, help="stores, in order")
    parser.add_argument("--index", required=True, type=Path, help="index to write")
    parser.add_argument("--skipped", nargs="*", default=[], type=Path, help="CSV files with equal headings")
    parser.add_argument("--skipped-output", type=Path, help="CSV file to write")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    unite(args.shards, args.index, provenance(__file__, shards=[path.name for path in args.shards]))
    if args.skipped_output:
        tables = [list(csv.reader(path.read_text(encoding="utf-8").splitlines())) for path in args.skipped]
        with atomic_path(args.skipped_output) as part, part.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([tables[0][0], *(row for t in tables for row in t[1:])])
    logging.info("%s: %d shards", args.index, len(args.shards))


if __name__ == "__main__":
    main()
