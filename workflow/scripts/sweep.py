"""Draw recovery over what a table sweeps."""

import logging
from pathlib import Path

from sdlcore.command_line import cli
from sdlcore.study.products.figures import save_figure
from sdlcore.study.products.sweep_figure import figure_sweep
from sdlcore.study.results.tables import read_csv


def main(*, table: Path, png: Path, pdf: Path) -> None:
    """
    Args:
        table: CSV of the table
    """
    rows = read_csv(table)
    save_figure(figure_sweep(rows), png, pdf)
    logging.info("%d rows of %s", len(rows), table)


if __name__ == "__main__":
    cli(main)
