"""What a source of image embeddings is: its settings, and which images go where."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sdlcore.random_streams import stream
from sdlcore.sources.images.listing import ImageFolder, list_images
from sdlcore.storage.parsing import SourceError

KEYS = "(of a source under sources.clip)"
CONVENTIONS = {
    "pooled": "the image tower's output after its last layer norm, before the projection into the joint space",
    "joint": "the image's embedding in the space shared with texts, after the projection, not divided by its norm",
}


@dataclass(frozen=True)
class ClipSource:
    """Settings of one source; `config/schema/config.schema.yaml` describes the same keys.

    Attributes
    ----------
    images, test_images, model, pretrained
        What the configuration calls the image folders, the architecture and the weights; kept as provenance.
    embedding
        ``pooled`` or ``joint``; see `embedder`.
    dtype
        Precision of the forward pass: float32 or bfloat16.
    store_dtype
        Precision of the stores: float16 or float32.
    batch_size
        Images that run at once.
    train_samples, test_samples
        Images for each store, drawn once and for all; None for all that there are. Unreadable ones are missing.
    max_unreadable
        Share of a store's images above which unreadable ones are an error.
    n_p
        Dimension that embeddings must have, if it is to be checked.
    """

    images: str
    model: str
    pretrained: str
    test_images: str | None = None
    embedding: str = "pooled"
    dtype: str = "float32"
    store_dtype: str = "float16"
    batch_size: int = 64
    train_samples: int | None = None
    test_samples: int | None = None
    max_unreadable: float = 0.01
    n_p: int | None = None

    def __post_init__(self) -> None:
        for name, minimum in (("batch_size", 1), ("train_samples", 1), ("test_samples", 1)):
            value = getattr(self, name)
            if value is not None and value < minimum:
                raise SourceError(f"{name} is {value}, but must be at least {minimum}")
        known = {
            "embedding": tuple(CONVENTIONS),
            "dtype": ("float32", "bfloat16"),
            "store_dtype": ("float16", "float32"),
        }
        for name, values in known.items():
            if getattr(self, name) not in values:
                raise SourceError(f"{name} is {getattr(self, name)!r}, but must be {' or '.join(values)}")
        if not 0 <= self.max_unreadable <= 1:
            raise SourceError(f"max_unreadable is {self.max_unreadable}, but must be a share from 0 to 1")


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
