"""Make the table of solvers: CSV, one row a run, and Markdown, one row a source and solver."""

import argparse
import json
import logging

from sdlcore.storage.files import atomic_path
from sdlcore.study.products.solvers_table import solvers_markdown, solvers_table
from sdlcore.study.results.tables import write_csv


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--benches", required=True, type=json.loads, help="JSON: settings of each source")
    parser.add_argument("--metrics", required=True, nargs="+", help="metrics.json of each run, its other files beside")
    parser.add_argument("--csv", required=True)
    parser.add_argument("--markdown", required=True)
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")

    table = solvers_table(arguments.metrics, arguments.benches)
    write_csv(arguments.csv, table)
    with atomic_path(arguments.markdown) as part:
        part.write_text(solvers_markdown(table), encoding="utf-8")
    logging.info("%d runs", len(table))


if __name__ == "__main__":
    main()
