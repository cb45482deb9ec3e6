"""Make Table 3, the settings of a bench beside the paper's: CSV, Markdown, LaTeX."""

import logging
from pathlib import Path
from typing import Any

from sdlcore.command_line import cli
from sdlcore.storage.files import write_text
from sdlcore.study.products.settings_table import settings_caption, settings_latex, settings_markdown, settings_table
from sdlcore.study.results.tables import write_csv


def main(
    *, bench: dict[str, Any], source: str, configuration: str, paper: Path, csv: Path, markdown: Path, latex: Path
) -> None:
    """
    Args:
        bench: settings of the bench
        source: name of the bench
        configuration: name of the configuration
        paper: CSV with the paper's own table
    """
    table = settings_table(bench, paper)
    caption = settings_caption(configuration, source)
    write_csv(csv, table)
    write_text(markdown, settings_markdown(table, caption))
    write_text(latex, settings_latex(table, caption, "tab:table3"))
    logging.info("table 3 of %s:\n%s", source, table.to_string(index=False))


if __name__ == "__main__":
    cli(main)
