"""Make the table of solvers: CSV, one row a run, and Markdown, one row a source and solver."""

import logging
from pathlib import Path
from typing import Any

from sdlcore.command_line import cli
from sdlcore.storage.files import write_text
from sdlcore.study.products.solvers_table import solvers_markdown, solvers_table
from sdlcore.study.results.tables import write_csv


def main(*, benches: dict[str, Any], metrics: list[Path], csv: Path, markdown: Path) -> None:
    """
    Args:
        benches: settings of each source
        metrics: metrics.json of each run, its other files beside
    """
    table = solvers_table(metrics, benches)
    write_csv(csv, table)
    write_text(markdown, solvers_markdown(table))
    logging.info("%d runs", len(table))


if __name__ == "__main__":
    cli(main)
