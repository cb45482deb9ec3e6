"""Make a table over runs: CSV, Markdown, LaTeX, what anchoring changes, and the runs themselves."""

import logging
from pathlib import Path
from typing import Any

from sdlcore.command_line import cli
from sdlcore.storage.files import write_text
from sdlcore.study.products import markup
from sdlcore.study.products.captions import table_caption
from sdlcore.study.products.sweeps import effects_over, runs_over, table_layout, table_over
from sdlcore.study.results.runs import read_runs, unjudged
from sdlcore.study.results.tables import no_paper, read_paper, write_csv


def main(
    *,
    table: str,
    spec: dict[str, Any],
    paper: Path | None = None,
    metrics: list[Path],
    csv: Path,
    markdown: Path,
    latex: Path,
    effects: Path,
    runs: Path,
) -> None:
    """
    Args:
        table: name of the table in the configuration
        spec: the configuration that the table needs
        paper: CSV with the paper's own numbers, where it has the table
        metrics: metrics.json of each run
        effects: CSV file to write: what anchoring changes
        runs: CSV file to write: one row a run
    """
    layout = table_layout(spec, table)
    found = read_runs(metrics)
    if paper is None:  # a source of one's own, which may have no classes
        numbers, found = no_paper(), unjudged(found)
    else:
        numbers = read_paper(paper)
    rows = table_over(found, numbers, layout)
    caption = table_caption(spec, table)
    write_csv(csv, rows)
    write_csv(runs, runs_over(found, layout))
    write_csv(effects, effects_over(found, layout))
    write_text(markdown, markup.markdown(rows, caption))
    write_text(latex, markup.latex(rows, caption, f"tab:{table}"))
    logging.info("%s: %d rows from %d runs", table, len(rows), len(found))


if __name__ == "__main__":
    cli(main)
