"""Check the paper's theorems by computation, and write the result of each claim as CSV and Markdown."""

from pathlib import Path

from sdlcore.command_line import cli
from sdlcore.storage.files import write_text
from sdlstudy.results.tables import write_csv
from sdlstudy.theory.check import check
from sdlstudy.theory.claims import page, table


def main(*, csv: Path, markdown: Path) -> None:
    claims = table(check())
    write_csv(csv, claims)
    write_text(markdown, page(claims))


if __name__ == "__main__":
    cli(main)
