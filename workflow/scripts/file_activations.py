"""Write activations that lie in files already to activation stores."""

import argparse
import json
import logging
from pathlib import Path

from sdlcore.sources.files.extraction import FileSource, write_stores


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True, type=json.loads, help="settings of FileSource, JSON")
    parser.add_argument("--train", required=True, type=Path, help="training store to write")
    parser.add_argument("--test", required=True, type=Path, help="evaluation store to write")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    write_stores(FileSource(**args.source), args.train, args.test)


if __name__ == "__main__":
    main()
