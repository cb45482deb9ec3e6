"""Draw recovery, atoms and samples taken over one setting of a bench after the other, and write the numbers."""

import argparse
import json
import logging
import sys

from sdlcore.study.products.figures import save_figure
from sdlcore.study.products.frontier import figure_frontier, frontier_table
from sdlcore.study.results.tables import write_csv


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", required=True, type=json.loads, help="JSON: parameter, value, folder of each run")
    parser.add_argument("--benches", required=True, type=json.loads, help="JSON: settings of each source")
    parser.add_argument("--base", required=True, type=json.loads, help="JSON: settings of the bench that is varied")
    parser.add_argument("--png", required=True)
    parser.add_argument("--pdf", required=True)
    parser.add_argument("--csv", required=True)
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    logging.getLogger("fontTools").setLevel(logging.WARNING)  # tells of every glyph that it embeds

    table = frontier_table(arguments.runs, arguments.benches)
    write_csv(arguments.csv, table)
    save_figure(figure_frontier(table, arguments.base), arguments.png, arguments.pdf)
    logging.info("%d runs", len(table))


if __name__ == "__main__":
    main()
