"""Draw training with and without resampling of dead latents (figure 6), and sum it up."""

import logging
from pathlib import Path
from typing import Any

from sdlcore.command_line import cli
from sdlcore.study.products.figures import figure6, figure6_summary, read_histories, save_figure
from sdlcore.study.products.markup import label_method
from sdlcore.study.results.tables import write_csv


def main(
    *,
    with_resampling: list[Path],
    without_resampling: list[Path],
    labels: dict[str, Any],
    png: Path,
    pdf: Path,
    summary: Path,
) -> None:
    """
    Args:
        with_resampling: run directories
        without_resampling: run directories
        labels: with, without, method, source
        summary: CSV file to write
    """
    histories = {"without": read_histories(without_resampling), "with": read_histories(with_resampling)}
    rows = figure6_summary(histories)
    title = "{}, on {}".format(label_method(labels["method"]), labels["source"])
    figure = figure6(histories, labels, title)
    save_figure(figure, png, pdf)
    write_csv(summary, rows)
    logging.info("figure 6 of %d runs:\n%s", len(rows), rows.to_string(index=False))


if __name__ == "__main__":
    cli(main)
