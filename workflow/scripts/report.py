"""Write the report: one self-contained HTML page."""

import logging
from pathlib import Path
from typing import Any

from sdlcore.command_line import cli
from sdlcore.storage.files import write_text
from sdlstudy.configuration.whole import Configuration
from sdlstudy.report.page import report
from sdlstudy.results.tables import read_csv


def main(*, config: dict[str, Any], files: list[Path], output: Path) -> None:
    """
    Args:
        config: the whole configuration
        files: tables (CSV) and pictures (PNG) to show
        output: HTML file to write
    """
    frames = {path.stem: read_csv(path) for path in files if path.suffix == ".csv"}
    images = {path.stem: path.read_bytes() for path in files if path.suffix == ".png"}
    page = report(Configuration.model_validate(config), frames, images)
    write_text(output, page)
    logging.info("%s: %d bytes", output, len(page.encode()))


if __name__ == "__main__":
    cli(main)
