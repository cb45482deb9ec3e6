"""List image folders, and decode their images in batches.

The layout is torchvision's ImageFolder: ``<root>/<class>/**/<image>``. Unreadable images are skipped with a reason and
cause no error, since every folder of a million images contains some. `pictures` decodes files.
"""

import hashlib
import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from sdlcore.errors import SourceError
from sdlcore.extraction.folders import Skipped, files_below
from sdlcore.extraction.pictures import SUFFIXES, open_picture
from sdlcore.extras import extra
from sdlcore.storage.parsing import describe_error, parsing
from sdlcore.text import printable

with extra("clip"):
    from PIL import Image

log = logging.getLogger(__name__)

MOST_NAMED = 5
"""Largest number of files that a message names."""
WNID = re.compile(r"n\d{8}")
_Item = tuple[int, str, torch.Tensor | None, str]
"""Index, path, picture or None, reason for None."""


class ImageFolder(NamedTuple):
    """The images of a folder, ordered by name.

    Attributes
    ----------
    root
        The folder.
    paths
        N paths relative to ``root``, with forward slashes.
    labels
        N class indices, int32.
    classes
        Names of the class folders, sorted, including empty folders.
    class_names
        Readable names of the classes (`name_classes`).
    skipped
        Files with the name of an image that were skipped, and folders that were not searched.
    digest
        SHA-256 of the paths and sizes.
    """

    root: Path
    paths: list[str]
    labels: np.ndarray
    classes: list[str]
    class_names: list[str]
    skipped: list[Skipped]
    digest: str


class Batch(NamedTuple):
    """A batch of decoded images.

    Attributes
    ----------
    images
        B x 3 x height x width, or None if none was readable.
    indices
        B indices into the folder's paths.
    skipped
        Unreadable images of the batch.
    """

    images: torch.Tensor | None
    indices: list[int]
    skipped: list[Skipped]


def list_images(root: str | Path, key: str = "images") -> ImageFolder:
    """List an image folder, without opening the images.

    Parameters
    ----------
    root
        Folder in ImageFolder layout.
    key
        Configuration key of the folder, for errors.

    Raises
    ------
    SourceError
        If the folder does not exist, or contains no class folder or no image.
    """
    root = Path(root)
    layout = "one folder for each class with its images in it, <root>/<class>/<image>.jpg"
    if not root.is_dir():
        raise SourceError(f"{root}: no such folder, given as {key}; expected {layout}")
    with parsing(root, "an image folder"), os.scandir(root) as entries:
        here = {entry.name: entry.is_dir() for entry in entries}
    classes = sorted(name for name, folder in here.items() if folder and not name.startswith("."))
    loose = sorted(name for name, folder in here.items() if not folder)
    paths: list[str] = []
    labels: list[int] = []
    skipped: list[Skipped] = []
    lines: list[str] = []
    ignored = Counter[str]()

    def is_called_image(path: str) -> bool:
        name = PurePosixPath(path)
        if name.name.startswith("."):
            return False
        if (suffix := name.suffix.lower()) not in SUFFIXES:
            ignored[printable(suffix or name.name)] += 1
        return suffix in SUFFIXES

    for label, name in enumerate(classes):
        sizes, skipped_here = files_below(root, is_called_image, name)
        paths += sizes
        labels += [label] * len(sizes)
        lines += [f"{path} {size}\n" for path, size in sizes.items()]
        skipped += skipped_here
    if not paths:
        has = f"{len(classes)} class folders without an image" if classes else "no class folder"
        raise SourceError(
            f"{root}: has {has}, given as {key}; expected {layout} (or another format that Pillow decodes)"
        )
    for entry in skipped:
        log.warning("%s: skipped %s: %s", root, *entry)
    if ignored:
        counts = ", ".join(f"{number} {kind}" for kind, number in ignored.most_common(MOST_NAMED))
        log.warning("%s: ignored %d files that are not images by their names: %s", root, ignored.total(), counts)
    filled = set(labels)
    if empty := [name for label, name in enumerate(classes) if label not in filled]:
        log.warning("%s: classes without an image, which are kept: %s", root, ", ".join(empty))
    if loose := [name for name in loose if not name.startswith(".")]:
        named = ", ".join(loose[:MOST_NAMED]) + (", ..." if len(loose) > MOST_NAMED else "")
        log.warning("%s: ignored %d files outside of class folders: %s", root, len(loose), named)
    digest = hashlib.sha256("".join(lines).encode()).hexdigest()
    return ImageFolder(root, paths, np.array(labels, dtype=np.int32), classes, name_classes(classes), skipped, digest)


def name_classes(folders: list[str]) -> list[str]:
    """Return readable class names: underscores become spaces, and ImageNet-1K's ids become open_clip's names."""
    if len(folders) == 1000 and all(WNID.fullmatch(folder) for folder in folders):
        from open_clip import IMAGENET_CLASSNAMES  # imported here, since no other folder needs the library

        return list(IMAGENET_CLASSNAMES)
    return [folder.replace("_", " ").encode(errors="backslashreplace").decode() for folder in folders]


def decoded_images(
    folder: ImageFolder,
    order: np.ndarray,
    transform: Callable[[Image.Image], torch.Tensor],
    batch_size: int,
    start: int = 0,
    workers: int = 0,
    threads: int = 1,
    pin_memory: bool = False,
) -> Iterator[Batch]:
    """Decode images ``order[start:]`` in batches of ``batch_size``, or fewer if some are unreadable.

    Parameters
    ----------
    folder, order
        Images, and indices into them.
    transform
        Converts a picture to a tensor (3 x height x width). If it raises, the image counts as unreadable.
    batch_size
        Images per batch. Starting at a multiple of ``batch_size`` yields the same batches as starting at 0.
    start
        Position in ``order`` to start at.
    workers
        Number of processes that decode; 0 to decode in threads of this process, between batches.
    threads
        Number of threads, used only without workers.
    pin_memory
        Whether to put tensors in pinned memory, from which a GPU can fetch them.
    """
    parts = [order[first : first + batch_size].tolist() for first in range(start, len(order), batch_size)]
    images = _Images(folder, transform)
    if not workers:
        yield from _decoded_in_threads(images, parts, threads, pin_memory)
        return
    loader: DataLoader[Any] = DataLoader(
        images,
        batch_sampler=parts,
        num_workers=workers,
        collate_fn=_collate,
        pin_memory=pin_memory,
        generator=torch.Generator(),  # otherwise it would draw from the global generator
    )
    yield from loader


def _decoded_in_threads(images: "_Images", parts: list[list[int]], threads: int, pin_memory: bool) -> Iterator[Batch]:
    """Yield batches without decoding ahead, which would slow down a model that uses the same cores."""
    with ThreadPoolExecutor(threads) as pool:
        for part in parts:
            batch = _collate(list(pool.map(images.__getitem__, part)))
            if pin_memory and batch.images is not None:
                batch = batch._replace(images=batch.images.pin_memory())
            yield batch


class _Images(Dataset[_Item]):
    def __init__(self, folder: ImageFolder, transform: Callable[[Image.Image], torch.Tensor]) -> None:
        self._root = folder.root
        self._paths = folder.paths
        self._transform = transform

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> _Item:
        path = self._root / self._paths[index]
        try:
            with open_picture(path) as picture:
                return index, self._paths[index], self._transform(picture), ""
        except MemoryError:
            raise
        except Exception as error:  # decoders raise nearly any exception for a broken file
            return index, self._paths[index], None, describe_error(error, path)


def _collate(items: list[_Item]) -> Batch:
    images = [image for _, _, image, _ in items if image is not None]
    return Batch(
        torch.stack(images) if images else None,
        [index for index, _, image, _ in items if image is not None],
        [Skipped(path, reason) for _, path, image, reason in items if image is None],
    )
