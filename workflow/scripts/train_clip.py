"""Train a small CLIP on an image folder."""

import argparse
import json
import logging
from pathlib import Path

from sdlcore.sources.images.fashion_mnist import garment_of
from sdlcore.sources.images.training import ClipTraining, train_clip


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--training", required=True, type=json.loads, help="settings of ClipTraining, JSON")
    parser.add_argument("--model", required=True, help="architecture: a name of open_clip's or a JSON file")
    parser.add_argument("--images", required=True, type=Path, help="image folder to train on")
    parser.add_argument("--test-images", required=True, type=Path, help="image folder to judge it on")
    parser.add_argument("--garments", action="store_true", help="the classes are Fashion-MNIST's: judge garments too")
    parser.add_argument("--workers", type=int, default=0, help="processes that decode images")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--weights", required=True, type=Path, help="safetensors file to write")
    parser.add_argument("--metrics", required=True, type=Path, help="JSON file to write")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    train_clip(
        ClipTraining(**args.training),
        args.model,
        args.images,
        args.test_images,
        args.weights,
        args.metrics,
        group_of=garment_of if args.garments else None,
        workers=args.workers,
        device=args.device,
        threads=args.threads,
    )


if __name__ == "__main__":
    main()
