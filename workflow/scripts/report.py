"""Write the report: one self-contained HTML page."""

import argparse
import json
import logging
import sys
from pathlib import Path

from sdlcore.rendering.report import report, write_report
from sdlcore.rendering.tables import read_csv


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True, type=json.loads, help="JSON: the whole configuration")
    parser.add_argument("--table1", type=read_csv, help="CSV of table 1")
    parser.add_argument("--effects", type=read_csv, help="CSV of what anchoring changes")
    parser.add_argument("--figure6", type=read_bytes, help="PNG")
    parser.add_argument("--figure6-summary", type=read_csv, help="CSV")
    parser.add_argument("--figure8", type=read_bytes, help="PNG")
    parser.add_argument("--output", required=True, help="HTML file to write")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")

    page = report(
        arguments.config,
        arguments.table1,
        arguments.effects,
        arguments.figure6,
        arguments.figure6_summary,
        arguments.figure8,
    )
    write_report(arguments.output, page)
    logging.info("%s: %d bytes", arguments.output, len(page.encode()))


def read_bytes(path: str) -> bytes:
    return Path(path).read_bytes()


if __name__ == "__main__":
    main()
