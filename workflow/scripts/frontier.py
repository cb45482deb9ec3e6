"""Draw recovery, atoms and samples taken over one setting of a bench after the other, and write the numbers."""

import logging
from pathlib import Path
from typing import Any

from sdlcore.command_line import cli
from sdlcore.study.products.figures import save_figure
from sdlcore.study.products.frontier import figure_frontier, frontier_table
from sdlcore.study.results.tables import write_csv


def main(
    *, runs: list[dict[str, Any]], benches: dict[str, Any], base: dict[str, Any], png: Path, pdf: Path, csv: Path
) -> None:
    """
    Args:
        runs: parameter, value, folder of each run
        benches: settings of each source
        base: settings of the bench that is varied
    """
    table = frontier_table(runs, benches)
    write_csv(csv, table)
    save_figure(figure_frontier(table, base), png, pdf)
    logging.info("%d runs", len(table))


if __name__ == "__main__":
    cli(main)
