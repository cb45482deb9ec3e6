"""Write the report: one self-contained HTML page."""

import argparse
import json
import logging
import sys
from pathlib import Path

from sdlcore.study.report.page import report, write_report
from sdlcore.study.results.tables import read_csv


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True, type=json.loads, help="JSON: the whole configuration")
    parser.add_argument(
        "--files", required=True, type=json.loads, help="JSON: what each CSV and PNG file is -> its path"
    )
    parser.add_argument("--output", required=True, help="HTML file to write")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")

    paths = {name: Path(path) for name, path in arguments.files.items()}
    frames = {name: read_csv(path) for name, path in paths.items() if path.suffix == ".csv"}
    images = {name: path.read_bytes() for name, path in paths.items() if path.suffix == ".png"}
    page = report(arguments.config, frames, images)
    write_report(arguments.output, page)
    logging.info("%s: %d bytes", arguments.output, len(page.encode()))


if __name__ == "__main__":
    main()
