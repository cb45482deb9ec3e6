"""Write a language model's activations over a text to activation stores: both, or one part, or the evaluation store."""

import argparse
import json
import logging
from pathlib import Path

from sdlcore.device import choose_device
from sdlcore.sources.language.extraction import extract, extract_shard
from sdlcore.sources.language.settings import LlamaSource
from sdlcore.sources.language.streaming import write_recipe


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True, type=json.loads, help="settings of LlamaSource, JSON")
    parser.add_argument("--model", required=True, help="folder of a transformers checkpoint, or OWNER/NAME at the hub")
    parser.add_argument("--text", required=True, help="file or folder of a text, or dataset:OWNER/NAME at the hub")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--train", type=Path, help="training store to write")
    parser.add_argument("--test", type=Path, help="evaluation store to write")
    parser.add_argument("--shard", nargs=2, type=int, metavar=("NUMBER", "PARTS"), help="write only this, to --output")
    parser.add_argument("--output", type=Path, help="store of the part")
    parser.add_argument("--recipe", type=Path, help="write this in place of a training store, for train_streamed.py")
    parser.add_argument("--buffer-rows", type=int, help="rows in memory that streamed batches are drawn from")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # a line for every request
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    source = LlamaSource.from_dict(args.source)
    where = (source, args.model, args.text)
    how = {"threads": args.threads, "device": choose_device(args.device)}
    if args.shard:
        extract_shard(*where, args.output, *args.shard, **how)
    elif args.recipe:
        write_recipe(*where, args.recipe, args.test, args.buffer_rows, **how)
    else:
        extract(*where, args.train, args.test, **how)


if __name__ == "__main__":
    main()
