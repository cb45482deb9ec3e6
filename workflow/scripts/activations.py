"""Write a language model's activations over a text to activation stores."""

import argparse
import json
import logging
from pathlib import Path

from sdlcore.activations.llama import LlamaSource, extract
from sdlcore.device import choose_device


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True, type=json.loads, help="settings of LlamaSource, JSON")
    parser.add_argument("--model", required=True, help="folder of a transformers checkpoint, or OWNER/NAME at the hub")
    parser.add_argument("--text", required=True, help="file or folder of a text, or dataset:OWNER/NAME at the hub")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--train", required=True, type=Path, help="training store to write")
    parser.add_argument("--test", required=True, type=Path, help="evaluation store to write")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # a line for every request
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    source = LlamaSource.from_dict(args.source)
    device = choose_device(args.device)
    extract(source, args.model, args.text, args.train, args.test, threads=args.threads, device=device)


if __name__ == "__main__":
    main()
