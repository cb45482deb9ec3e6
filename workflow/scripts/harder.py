"""Make the table of harder benches: CSV, one row a run, and Markdown, one row a bench and method."""

import argparse
import logging

from sdlcore.files import atomic_path
from sdlcore.rendering.harder_table import harder_markdown, harder_table
from sdlcore.rendering.runs import read_runs
from sdlcore.rendering.tables import write_csv


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--metrics", required=True, nargs="+", help="metrics.json of each run")
    parser.add_argument("--csv", required=True)
    parser.add_argument("--markdown", required=True)
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")

    table = harder_table(read_runs(arguments.metrics))
    write_csv(arguments.csv, table)
    with atomic_path(arguments.markdown) as part:
        part.write_text(harder_markdown(table), encoding="utf-8")
    logging.info("%d runs", len(table))


if __name__ == "__main__":
    main()
