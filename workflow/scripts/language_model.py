"""Convert a GGUF file to a folder that transformers loads."""

import argparse
import logging
from pathlib import Path

from sdlcore.activations.checkpoints import convert_gguf


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gguf", required=True, type=Path, help="GGUF file of a Llama-family model")
    parser.add_argument("--output", required=True, type=Path, help="folder to make")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    convert_gguf(args.gguf, args.output)


if __name__ == "__main__":
    main()
