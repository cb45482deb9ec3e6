"""Make a table of runs on benches: CSV, one row a run, and Markdown, one row a bench and method."""

import argparse
import logging

from sdlcore.storage.files import atomic_path
from sdlcore.study.products.bench_tables import TABLES, bench_markdown, bench_table
from sdlcore.study.results.runs import read_runs
from sdlcore.study.results.tables import write_csv


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", required=True, choices=TABLES)
    parser.add_argument("--metrics", required=True, nargs="+", help="metrics.json of each run")
    parser.add_argument("--csv", required=True)
    parser.add_argument("--markdown", required=True)
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")

    table = bench_table(arguments.table, read_runs(arguments.metrics))
    write_csv(arguments.csv, table)
    with atomic_path(arguments.markdown) as part:
        part.write_text(bench_markdown(arguments.table, table), encoding="utf-8")
    logging.info("%d runs", len(table))


if __name__ == "__main__":
    main()
