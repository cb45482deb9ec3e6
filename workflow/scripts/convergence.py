"""Draw what dictionaries of a bench had after how many seconds, out of their histories."""

import argparse
import json
import logging
import sys
from pathlib import Path

from sdlcore.study.products.convergence import course, figure_convergence
from sdlcore.study.products.figures import save_figure
from sdlcore.study.results.tables import read_csv, write_csv


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    what = "JSON: method, protocol (null of a solver), seed, history of each"
    parser.add_argument("--runs", required=True, type=json.loads, help=what)
    for name in ("--png", "--pdf", "--table"):
        parser.add_argument(name, required=True)
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    logging.getLogger("fontTools").setLevel(logging.WARNING)  # tells of every glyph that it embeds

    found = course([(run, read_csv(Path(run["history"]))) for run in arguments.runs])
    write_csv(arguments.table, found)
    save_figure(figure_convergence(found), arguments.png, arguments.pdf)
    logging.info("%d runs", len(arguments.runs))


if __name__ == "__main__":
    main()
