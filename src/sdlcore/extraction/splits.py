"""Split the images of a source into its training and its evaluation store."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from sdlcore.errors import SourceError
from sdlcore.extraction.clip_config import ClipSource
from sdlcore.extraction.images import ImageFolder, list_images
from sdlcore.random_streams import stream

KEYS = "(of a source under sources.clip)"


class Split(NamedTuple):
    """The images of one store.

    Attributes
    ----------
    folder
        The folder of the images.
    labels
        Class index of each image in the folder, among the *training* folder's classes.
    order
        Indices of the images to embed, in the order of the store.
    """

    folder: ImageFolder
    labels: np.ndarray
    order: np.ndarray


def splits_of(source: ClipSource, images: str | Path, test_images: str | Path | None) -> dict[str, Split]:
    """Choose the images of the training and the evaluation store.

    The choice depends only on the sorted content of the folders, not on the order of files on the disk.

    Raises
    ------
    SourceError
        If a folder cannot be used, has too few images or other classes.
    """
    train = list_images(images, f"images {KEYS}")
    if test_images is None:
        if source.test_samples is None:
            raise SourceError(
                "test_samples is null, but without test_images, test_samples must be the number of images to hold out"
            )
        if source.test_samples >= len(train.paths):
            raise SourceError(
                f"{images}: has {len(train.paths)} images, but test_samples would hold out {source.test_samples}; "
                "lower test_samples, or set test_images to a folder"
            )
        order = stream(0, "images", "held out").permutation(len(train.paths))
        indices = _first(order[source.test_samples :], source.train_samples, images, "train_samples")
        return {
            "train": Split(train, train.labels, indices),
            # images that the listing skipped are counted only for training
            "test": Split(train._replace(skipped=[]), train.labels, order[: source.test_samples]),
        }
    test = list_images(test_images, f"test_images {KEYS}")
    if Path(images).samefile(test_images):
        raise SourceError(
            f"{test_images}: is the same folder as {images}; leave test_images out and set test_samples to hold out "
            "images"
        )
    unknown = sorted(set(test.classes) - set(train.classes))
    if unknown:
        raise SourceError(
            f"{test_images}: class folder {unknown[0]} is missing in {images}; test_images must have the same classes"
        )
    index = np.array([train.classes.index(name) for name in test.classes], dtype=np.int32)
    orders = {
        name: stream(0, "images", name).permutation(len(folder.paths))
        for name, folder in (("train", train), ("test", test))
    }
    return {
        "train": Split(train, train.labels, _first(orders["train"], source.train_samples, images, "train_samples")),
        "test": Split(
            test, index[test.labels], _first(orders["test"], source.test_samples, test_images, "test_samples")
        ),
    }


def _first(order: np.ndarray, samples: int | None, images: str | Path, key: str) -> np.ndarray:
    if samples is not None and samples > len(order):
        raise SourceError(f"{images}: has {len(order)} images, but {key} is {samples}; lower {key} or set it to null")
    return order[:samples]
