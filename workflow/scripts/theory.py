"""Check the paper's theorems by computation, and write the result of each claim as CSV and Markdown."""

import logging
from pathlib import Path

import pandas as pd

from sdlcore.command_line import cli
from sdlcore.storage.files import write_text
from sdlstudy.results.tables import write_csv
from sdlstudy.theory.check import check
from sdlstudy.theory.claims import counts_sentence, page


def main(*, csv: Path, markdown: Path) -> None:
    table = pd.DataFrame([claim.row() for claim in check()])
    write_csv(csv, table)
    write_text(markdown, page(table))
    logging.info("%s", counts_sentence(table))


if __name__ == "__main__":
    cli(main)
