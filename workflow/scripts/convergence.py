"""Draw what dictionaries of a bench had after how many seconds, out of their histories."""

import logging
from pathlib import Path
from typing import Any

from sdlcore.command_line import cli
from sdlcore.study.products.convergence import course, figure_convergence
from sdlcore.study.products.figures import save_figure
from sdlcore.study.results.tables import read_csv, write_csv


def main(*, runs: list[dict[str, Any]], png: Path, pdf: Path, table: Path) -> None:
    """
    Args:
        runs: method, protocol (null of a solver), seed, history of each
    """
    found = course([(run, read_csv(Path(run["history"]))) for run in runs])
    write_csv(table, found)
    save_figure(figure_convergence(found), png, pdf)
    logging.info("%d runs", len(runs))


if __name__ == "__main__":
    cli(main)
