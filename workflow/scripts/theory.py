"""Check the paper's theorems by computation: CSV and Markdown of what became of each claim."""

import logging
from pathlib import Path

from sdlcore.command_line import cli
from sdlcore.storage.files import write_text
from sdlcore.study.results.tables import write_csv
from sdlcore.study.theory.audit import audit, claims_frame
from sdlcore.study.theory.markup import counts_sentence, theory_markdown


def main(*, csv: Path, markdown: Path) -> None:
    frame = claims_frame(audit())
    write_csv(csv, frame)
    write_text(markdown, theory_markdown(frame))
    logging.info("%s", counts_sentence(frame))


if __name__ == "__main__":
    cli(main)
