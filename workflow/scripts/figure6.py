"""Draw training with and without resampling of dead latents (figure 6), and sum it up."""

import argparse
import json
import logging
import sys

from sdlcore.study.products.figures import figure6, figure6_summary, read_histories, save_figure
from sdlcore.study.products.markup import label_method
from sdlcore.study.results.tables import write_csv


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--with", required=True, nargs="+", dest="with_", help="run directories with resampling")
    parser.add_argument("--without", required=True, nargs="+", help="run directories without resampling")
    parser.add_argument("--labels", required=True, type=json.loads, help="JSON: with, without, method, source")
    parser.add_argument("--png", required=True)
    parser.add_argument("--pdf", required=True)
    parser.add_argument("--summary", required=True, help="CSV file to write")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    logging.getLogger("fontTools").setLevel(logging.WARNING)  # tells of every glyph that it embeds

    histories = {"without": read_histories(arguments.without), "with": read_histories(arguments.with_)}
    summary = figure6_summary(histories)
    title = "{}, on {}".format(label_method(arguments.labels["method"]), arguments.labels["source"])
    figure = figure6(histories, arguments.labels, title)
    save_figure(figure, arguments.png, arguments.pdf)
    write_csv(arguments.summary, summary)
    logging.info("figure 6 of %d runs:\n%s", len(summary), summary.to_string(index=False))


if __name__ == "__main__":
    main()
