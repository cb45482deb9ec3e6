"""Convert a GGUF file to a folder of the cache that transformers loads, and link to it."""

import argparse
import logging
from pathlib import Path

from sdlcore.sources.language.gguf_conversion import converted
from sdlcore.storage.sharing import link


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gguf", required=True, type=Path, help="GGUF file of a Llama-family model")
    parser.add_argument("--cache", required=True, type=Path, help="folder of converted models")
    parser.add_argument("--output", required=True, type=Path, help="link to make")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    link(converted(args.gguf, args.cache), args.output)


if __name__ == "__main__":
    main()
