"""Make a table over runs: CSV, Markdown, LaTeX, what anchoring changes, and the runs themselves."""

import argparse
import json
import logging
import sys

from sdlcore.storage.files import atomic_path
from sdlcore.study.products.captions import table_caption
from sdlcore.study.products.markup import latex, markdown
from sdlcore.study.products.sweeps import effects_over, runs_over, table_layout, table_over
from sdlcore.study.results.runs import read_runs, unjudged
from sdlcore.study.results.tables import no_paper, read_paper, write_csv


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", required=True, help="name of the table in the configuration")
    parser.add_argument("--spec", required=True, type=json.loads, help="JSON: the configuration that the table needs")
    parser.add_argument("--paper", nargs="?", help="CSV with the paper's own numbers, where it has the table")
    parser.add_argument("--metrics", required=True, nargs="+", help="metrics.json of each run")
    for output in ("csv", "markdown", "latex", "effects", "runs"):
        parser.add_argument(f"--{output}", required=True, help=f"{output} file to write")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")

    layout = table_layout(arguments.spec, arguments.table)
    runs = read_runs(arguments.metrics)
    if arguments.paper is None:  # a source of one's own, which may have no classes
        paper, runs = no_paper(), unjudged(runs)
    else:
        paper = read_paper(arguments.paper)
    table = table_over(runs, paper, layout)
    caption = table_caption(arguments.spec, arguments.table)
    write_csv(arguments.csv, table)
    write_csv(arguments.runs, runs_over(runs, layout))
    write_csv(arguments.effects, effects_over(runs, layout))
    with atomic_path(arguments.markdown) as part:
        part.write_text(markdown(table, caption), encoding="utf-8")
    with atomic_path(arguments.latex) as part:
        part.write_text(latex(table, caption, f"tab:{arguments.table}"), encoding="utf-8")
    logging.info("%s: %d rows from %d runs", arguments.table, len(table), len(runs))


if __name__ == "__main__":
    main()
