"""Write Fashion-MNIST into the cache as an image folder of 90 fine classes, and link to it."""

import argparse
import logging
from pathlib import Path

from sdlcore.sources.images.fashion_mnist import make_tree, tree_name
from sdlcore.storage.sharing import link, made_once


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train-images", required=True, type=int, help="number of training images")
    parser.add_argument("--test-images", required=True, type=int, help="number of evaluation images")
    parser.add_argument("--by-hand", required=True, type=Path, help="folder of the four idx.gz files put by hand")
    parser.add_argument("--cache", required=True, type=Path, help="folder of image folders")
    parser.add_argument("--output", required=True, type=Path, help="link to make")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    images = args.train_images, args.test_images
    folder = args.cache / tree_name(*images)
    made_once(folder, lambda path: make_tree(path, args.by_hand, *images))
    link(folder, args.output)


if __name__ == "__main__":
    main()
