"""Check the paper's theorems by computation: CSV and Markdown of what became of each claim."""

import argparse
import logging
import sys

from sdlcore.storage.files import atomic_path
from sdlcore.study.results.tables import write_csv
from sdlcore.study.theory.audit import audit, claims_frame
from sdlcore.study.theory.markup import counts_sentence, theory_markdown


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--csv", required=True, help="CSV to write")
    parser.add_argument("--markdown", required=True, help="the same as a page")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")

    frame = claims_frame(audit())
    write_csv(arguments.csv, frame)
    with atomic_path(arguments.markdown) as part:
        part.write_text(theory_markdown(frame), encoding="utf-8")
    logging.info("%s", counts_sentence(frame))


if __name__ == "__main__":
    main()
