"""Write Fashion-MNIST into the cache as an image folder of 90 fine classes, and link to it."""

from pathlib import Path

from offline.fashion_mnist import make_tree, tree_name
from sdlcore.command_line import cli
from sdlcore.storage.files import link, make_once


def main(*, train_images: int, test_images: int, by_hand: Path, cache: Path, output: Path) -> None:
    """
    Args:
        train_images: number of training images
        test_images: number of evaluation images
        by_hand: folder where users may put the four idx.gz files
        cache: folder that gets the image folder
        output: link to make
    """
    images = train_images, test_images
    folder = cache / tree_name(*images)
    make_once(folder, lambda path: make_tree(path, by_hand, *images))
    link(folder, output)


if __name__ == "__main__":
    cli(main, log="%(asctime)s %(levelname)s %(message)s")
