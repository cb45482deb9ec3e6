"""List image folders, and decode their images in batches.

The layout is torchvision's ImageFolder: ``<root>/<class>/**/<image>``. An image that cannot be read is skipped with a
reason, not an error, since a folder of a million images always has some. `folders` says what becomes of links,
`pictures` what a file is turned into.
"""

import hashlib
import logging
import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from sdlcore.errors import SourceError
from sdlcore.sources.folders import Found, Skipped, is_folder, sort_out, walk
from sdlcore.sources.images.pictures import open_picture
from sdlcore.storage.parsing import describe_error, parsing

log = logging.getLogger(__name__)

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
MOST_NAMED = 5
"""Files that a message names at the most."""
WNID = re.compile(r"n\d{8}")
_Item = tuple[int, str, torch.Tensor | None, str]
"""Index, path, picture or None, reason."""


class ImageFolder(NamedTuple):
    """The images of a folder, in an order that only their names decide.

    Attributes
    ----------
    root
        The folder.
    paths
        N paths relative to it, with forward slashes.
    labels
        N indices of classes, int32.
    classes
        Names of the class folders, sorted; empty ones too.
    class_names
        What the classes are called: the same for people.
    skipped
        What was not taken for an image of the folder though it looks like one, and folders that were not looked into.
    digest
        SHA-256 over paths and sizes in bytes.
    """

    root: Path
    paths: list[str]
    labels: np.ndarray
    classes: list[str]
    class_names: list[str]
    skipped: list[Skipped]
    digest: str


class Batch(NamedTuple):
    """Some consecutive images of an order, decoded.

    Attributes
    ----------
    images
        B x 3 x height x width, or None where not one was readable.
    indices
        B indices into the folder's paths.
    skipped
        Those of the batch that could not be read.
    """

    images: torch.Tensor | None
    indices: list[int]
    skipped: list[Skipped]


def list_images(root: str | Path, key: str = "images") -> ImageFolder:
    """Return what is in an image folder. Nothing is opened.

    Parameters
    ----------
    root
        Folder in ImageFolder layout.
    key
        Configuration key that names the folder; errors say it.

    Raises
    ------
    SourceError
        If there is no such folder, or it holds no class folder or no image.
    """
    root = Path(root)
    layout = "one folder for each class with its images in it, <root>/<class>/<image>.jpg"
    if not is_folder(root):
        raise SourceError(f"{root}: no such folder; {key} names it, and expected there is {layout}")
    with parsing(root, "an image folder"), os.scandir(root) as entries:
        here = {entry.name: is_folder(entry.path) for entry in entries}
    classes = sorted(name for name, folder in here.items() if folder and not name.startswith("."))
    loose = sorted(name for name, folder in here.items() if not folder)
    paths: list[str] = []
    labels: list[int] = []
    skipped: list[Skipped] = []
    lines: list[str] = []
    others = sum(not _is_called_image(name) for name in loose)
    for label, name in enumerate(classes):
        found = list(walk(root, "image", name))
        taken, left = sort_out(found, _is_called_image, _against)
        paths += [entry.path for entry in taken]
        labels += [label] * len(taken)
        lines += [f"{entry.path} {entry.size}\n" for entry in taken]
        skipped += left
        others += sum(not (entry.folder or _is_called_image(entry.path)) for entry in found)
    if not paths:
        has = f"{len(classes)} class folders without an image" if classes else "no class folder"
        raise SourceError(f"{root}: has {has}; {key} names it, and expected there is {layout} ({', '.join(SUFFIXES)})")
    for entry in skipped:
        log.warning("%s: skipped %s: %s", root, *entry)
    filled = set(labels)
    if empty := [name for label, name in enumerate(classes) if label not in filled]:
        log.warning("%s: classes without an image, which stay classes: %s", root, ", ".join(empty))
    if loose := [name for name in loose if not name.startswith(".")]:
        named = ", ".join(loose[:MOST_NAMED]) + (", ..." if len(loose) > MOST_NAMED else "")
        log.warning("%s: left aside %d files that lie in no class folder: %s", root, len(loose), named)
    if others:
        log.info("%s: left aside %d files that are no images by their names", root, others)
    digest = hashlib.sha256("".join(lines).encode()).hexdigest()
    return ImageFolder(root, paths, np.array(labels, dtype=np.int32), classes, name_classes(classes), skipped, digest)


def name_classes(folders: list[str]) -> list[str]:
    """Return names of classes for people: underscores are spaces, and ImageNet-1K's ids are open_clip's names."""
    if len(folders) == 1000 and all(WNID.fullmatch(folder) for folder in folders):
        from open_clip import IMAGENET_CLASSNAMES  # only here: no other folder needs the library

        return list(IMAGENET_CLASSNAMES)
    return [folder.replace("_", " ").encode(errors="backslashreplace").decode() for folder in folders]


def decoded(
    folder: ImageFolder,
    order: np.ndarray,
    transform: Callable[[Image.Image], torch.Tensor],
    batch_size: int,
    start: int = 0,
    workers: int = 0,
    threads: int = 1,
    pin_memory: bool = False,
) -> Iterator[Batch]:
    """Yield ``order[start:]`` in batches of ``batch_size`` images, fewer where some are unreadable.

    Parameters
    ----------
    folder, order
        Images, and indices into them.
    transform
        From a picture to a tensor (3 x height x width). Whatever it raises counts as unreadable.
    batch_size
        Images of a batch. A pass that starts at a multiple of it has the batches of one that starts at 0.
    start
        Place in the order to start at.
    workers
        Processes that decode; with 0, threads of this one do, between batches.
    threads
        How many; they are there only without workers.
    pin_memory
        Whether tensors are put where a GPU can fetch them from.
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
        generator=torch.Generator(),  # else it would draw from the global one
    )
    yield from loader


def _decoded_in_threads(images: "_Images", parts: list[list[int]], threads: int, pin_memory: bool) -> Iterator[Batch]:
    """Yield batches, none decoded ahead: beside a model on as many threads, that takes longer than by turns."""
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
        except Exception as error:  # over a broken file, decoders raise nearly anything
            return index, self._paths[index], None, describe_error(error, path)


def _collate(items: list[_Item]) -> Batch:
    images = [image for _, _, image, _ in items if image is not None]
    return Batch(
        torch.stack(images) if images else None,
        [index for index, _, image, _ in items if image is not None],
        [Skipped(path, reason) for _, path, image, reason in items if image is None],
    )


def _is_called_image(path: str) -> bool:
    name = PurePosixPath(path)
    return name.suffix.lower() in SUFFIXES and not name.name.startswith(".")


def _against(entry: Found) -> str | None:
    """Return what speaks against an image or a folder. A store holds paths as UTF-8."""
    if entry.reason is None and not entry.folder and not _is_utf8(entry.path):
        return "its name is not UTF-8"
    return entry.reason


def _is_utf8(path: str) -> bool:
    return path.encode(errors="replace").decode() == path
