"""Write a language model's residual stream over a text to activation stores."""

import argparse
import json
import logging
from pathlib import Path

from sdlcore.activations.llama import LlamaSource, extract


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True, type=json.loads, help="settings of LlamaSource, JSON")
    parser.add_argument("--model", required=True, type=Path, help="folder of a transformers Llama checkpoint")
    parser.add_argument("--text", required=True, type=Path, help="text or JSON file")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--train", required=True, type=Path, help="training store to write")
    parser.add_argument("--test", required=True, type=Path, help="evaluation store to write")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    extract(LlamaSource(**args.source), args.model, args.text, args.train, args.test, threads=args.threads)


if __name__ == "__main__":
    main()
