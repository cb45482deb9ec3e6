"""Make Table 3, the settings of a bench beside the paper's: CSV, Markdown, LaTeX."""

import argparse
import json
import logging
import sys

from sdlcore.storage.files import atomic_path
from sdlcore.study.products.settings_table import settings_caption, settings_latex, settings_markdown, settings_table
from sdlcore.study.results.tables import write_csv


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bench", required=True, type=json.loads, help="JSON: settings of the bench")
    parser.add_argument("--source", required=True, help="name of the bench")
    parser.add_argument("--configuration", required=True, help="name of the configuration")
    parser.add_argument("--paper", required=True, help="CSV with the paper's own table")
    for output in ("csv", "markdown", "latex"):
        parser.add_argument(f"--{output}", required=True, help=f"{output} file to write")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")

    table = settings_table(arguments.bench, arguments.paper)
    caption = settings_caption(arguments.configuration, arguments.source)
    write_csv(arguments.csv, table)
    with atomic_path(arguments.markdown) as part:
        part.write_text(settings_markdown(table, caption), encoding="utf-8")
    with atomic_path(arguments.latex) as part:
        part.write_text(settings_latex(table, caption, "tab:table3"), encoding="utf-8")
    logging.info("table 3 of %s:\n%s", arguments.source, table.to_string(index=False))


if __name__ == "__main__":
    main()
