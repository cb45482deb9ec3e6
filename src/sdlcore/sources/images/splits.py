"""Divide the images of a source between its training and its evaluation store."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from sdlcore.errors import SourceError
from sdlcore.random_streams import stream
from sdlcore.sources.images.listing import ImageFolder, list_images
from sdlcore.sources.images.settings import ClipSource

KEYS = "(of a source under sources.clip)"


class Split(NamedTuple):
    """The images of one store.

    Attributes
    ----------
    folder
        Where they are.
    labels
        Index of each of the folder's images among the *training* folder's classes.
    order
        Indices of those to embed, as they are to be stored.
    """

    folder: ImageFolder
    labels: np.ndarray
    order: np.ndarray


def splits_of(source: ClipSource, images: str | Path, test_images: str | Path | None) -> dict[str, Split]:
    """Return which images go into the training and the evaluation store.

    What a folder holds and a sample's number decide it, no order of a disk.

    Raises
    ------
    SourceError
        If a folder does not serve, or has too few images or other classes.
    """
    train = list_images(images, f"images {KEYS}")
    if test_images is None:
        if source.test_samples is None:
            raise SourceError("test_samples is null, but without test_images it must say how many images to hold out")
        if source.test_samples >= len(train.paths):
            raise SourceError(
                f"{images}: has {len(train.paths)} images, of which test_samples would hold out {source.test_samples} "
                "and leave none; lower it, or name a folder test_images"
            )
        order = stream(0, "images", "held out").permutation(len(train.paths))
        kept = _first(order[source.test_samples :], source.train_samples, images, "train_samples")
        return {
            "train": Split(train, train.labels, kept),
            # what listing skipped is counted once
            "test": Split(train._replace(skipped=[]), train.labels, order[: source.test_samples]),
        }
    test = list_images(test_images, f"test_images {KEYS}")
    if Path(images).samefile(test_images):
        raise SourceError(
            f"{test_images}: is the folder {images}; leave test_images out and set test_samples, which training does "
            "not see"
        )
    unknown = sorted(set(test.classes) - set(train.classes))
    if unknown:
        raise SourceError(
            f"{test_images}: class folder {unknown[0]} is none of {images}; test_images must have the same classes"
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
        raise SourceError(
            f"{images}: has {len(order)} images to take, but {key} is {samples}; lower it or set it to null"
        )
    return order[:samples]
