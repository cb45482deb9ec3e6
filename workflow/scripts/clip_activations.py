"""Write a CLIP model's embeddings of image folders to activation stores."""

import argparse
import json
import logging
from pathlib import Path

from sdlcore.sources.images.embedding import extract, extract_shard
from sdlcore.sources.images.settings import ClipSource


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True, type=json.loads, help="settings of ClipSource, JSON")
    parser.add_argument("--model", required=True, help="architecture: a name of open_clip's or a JSON file")
    parser.add_argument("--pretrained", required=True, help="weights: a file, a tag, or hf-hub:<owner>/<name>")
    parser.add_argument("--images", required=True, type=Path, help="image folder")
    parser.add_argument(
        "--test-images", type=Path, help="image folder of the evaluation store; else images are held out"
    )
    parser.add_argument("--workers", type=int, default=0, help="processes that decode images")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--train", type=Path, help="training store to write")
    parser.add_argument("--test", type=Path, help="evaluation store to write")
    parser.add_argument("--shard", nargs=3, metavar=("SPLIT", "NUMBER", "OF"), help="write only this part, to --output")
    parser.add_argument("--output", type=Path, help="store of the part")
    parser.add_argument("--skipped", required=True, type=Path, help="CSV file to write: what could not be read")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    source = ClipSource(**args.source)
    where = {name: vars(args)[name] for name in ("model", "pretrained", "workers", "device", "threads")}
    if args.shard:
        split, number, parts = args.shard[0], *map(int, args.shard[1:])
        extract_shard(source, split, (number, parts), args.images, args.test_images, args.output, args.skipped, **where)
    else:
        extract(source, args.images, args.test_images, args.train, args.test, args.skipped, **where)


if __name__ == "__main__":
    main()
