"""Make a table of runs on benches: CSV, one row a run, and Markdown, one row a bench and method."""

import logging
from pathlib import Path

from sdlcore.command_line import cli
from sdlcore.storage.files import write_text
from sdlcore.study.products.bench_tables import bench_markdown, bench_table
from sdlcore.study.results.runs import read_runs
from sdlcore.study.results.tables import write_csv


def main(*, table: str, metrics: list[Path], csv: Path, markdown: Path) -> None:
    """
    Args:
        table: a name in sdlcore.study.products.bench_tables
        metrics: metrics.json of each run
    """
    rows = bench_table(table, read_runs(metrics))
    write_csv(csv, rows)
    write_text(markdown, bench_markdown(table, rows))
    logging.info("%d runs", len(rows))


if __name__ == "__main__":
    cli(main)
