"""Write the report: one self-contained HTML page."""

import logging
from pathlib import Path
from typing import Any

from sdlcore.command_line import cli
from sdlcore.storage.files import write_text
from sdlcore.study.report.page import report
from sdlcore.study.results.tables import read_csv


def main(*, config: dict[str, Any], files: dict[str, str], output: Path) -> None:
    """
    Args:
        config: the whole configuration
        files: what each CSV and PNG file is -> its path
        output: HTML file to write
    """
    paths = {name: Path(path) for name, path in files.items()}
    frames = {name: read_csv(path) for name, path in paths.items() if path.suffix == ".csv"}
    images = {name: path.read_bytes() for name, path in paths.items() if path.suffix == ".png"}
    page = report(config, frames, images)
    write_text(output, page)
    logging.info("%s: %d bytes", output, len(page.encode()))


if __name__ == "__main__":
    cli(main)
