"""Draw recovery over what a table sweeps."""

import argparse
import logging
import sys

from sdlcore.study.products.figures import save_figure
from sdlcore.study.products.sweep_figure import figure_sweep
from sdlcore.study.results.tables import read_csv


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", required=True, help="CSV of the table")
    parser.add_argument("--png", required=True)
    parser.add_argument("--pdf", required=True)
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    logging.getLogger("fontTools").setLevel(logging.WARNING)  # tells of every glyph that it embeds

    table = read_csv(arguments.table)
    save_figure(figure_sweep(table), arguments.png, arguments.pdf)
    logging.info("%d rows of %s", len(table), arguments.table)


if __name__ == "__main__":
    main()
