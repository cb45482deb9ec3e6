"""Write Fashion-MNIST as an image folder of 90 fine classes."""

import argparse
import logging
from pathlib import Path

from sdlcore.activations.fashion_mnist import make_tree


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train-images", required=True, type=int, help="number of training images")
    parser.add_argument("--test-images", required=True, type=int, help="number of evaluation images")
    parser.add_argument("--by-hand", required=True, type=Path, help="folder of the four idx.gz files put by hand")
    parser.add_argument("--output", required=True, type=Path, help="folder to make")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    make_tree(args.output, args.by_hand, args.train_images, args.test_images)


if __name__ == "__main__":
    main()
