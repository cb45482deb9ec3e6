"""Write the report: one self-contained HTML page."""

import logging
from pathlib import Path
from typing import Any

from sdlcore.command_line import cli
from sdlcore.storage.files import write_text
from sdlstudy.configuration.whole import Configuration
from sdlstudy.report.page import report, report_files
from sdlstudy.results.tables import read_csv


def main(*, config: dict[str, Any], published: list[Path], output: Path) -> None:
    """
    Args:
        config: the whole configuration
        published: CSV files that are kept with the code: verdicts, claims, Table 1, and the nearest protocol
        output: HTML file to write
    """
    configuration = Configuration.model_validate(config)
    paths = {name: Path(path) for name, path in report_files(configuration, configuration.files()).items()}
    paths |= {f"published_{path.stem.removeprefix('paper_')}": path for path in published}
    frames = {name: read_csv(path) for name, path in paths.items() if path.suffix == ".csv"}
    images = {name: path.read_bytes() for name, path in paths.items() if path.suffix == ".png"}
    page = report(configuration, frames, images)
    write_text(output, page)
    logging.info("%s: %d bytes", output, len(page.encode()))


if __name__ == "__main__":
    cli(main)
