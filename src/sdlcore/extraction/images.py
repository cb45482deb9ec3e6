"""List image folders, and decode their images in batches.

Every format that Pillow reads counts. Unreadable images are skipped with a reason and cause no error, since every
folder of a million images contains some.
"""

import hashlib
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from sdlcore.errors import SourceError
from sdlcore.extraction.engine import Call, fill
from sdlcore.extraction.folders import Skipped, files_below
from sdlcore.extraction.hooks import Point, is_transformers
from sdlcore.extraction.items import ItemRows, Items, Progress, TokensOf, prefix_of, rows_by
from sdlcore.extras import extra
from sdlcore.storage.files import write_rows
from sdlcore.storage.parsing import describe_error, parsing

with extra("clip"):
    from PIL import Image

log = logging.getLogger(__name__)

Image.init()
EXTERNAL = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
"""Formats that Pillow recognises, but decodes by external programs or not at all."""
SUFFIXES = {
    suffix: name
    for suffix, name in Image.registered_extensions().items()
    if name in Image.OPEN and name not in EXTERNAL
}
"""Suffix of a file's name -> its format in Pillow."""
MOST_NAMED = 5
"""Largest number of files that a message names."""
WNID = re.compile(r"n\d{8}")
Transform = Callable[[Image.Image], Tensor]
"""Converts an RGB picture to a tensor (3 x height x width)."""


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
        Names of the class folders, sorted, including empty folders; none in a folder without class folders.
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

    images: Tensor | None
    indices: list[int]
    skipped: list[Skipped]


def list_images(root: str | Path, key: str = "images", by_class: bool = True) -> ImageFolder:
    """List an image folder, without opening the images.

    Parameters
    ----------
    root
        A folder with a folder for each class, as torchvision's ImageFolder: <root>/<class>/**/<image>.jpg.
    key
        Configuration key of the folder, for errors.
    by_class
        Whether images outside of class folders are left out. Otherwise, images anywhere below ``root`` count, and have
        no classes unless all are in class folders.

    Raises
    ------
    SourceError
        If the folder does not exist, or contains no class folder or no image.
    """
    root = Path(root)
    if not root.is_dir():
        raise SourceError(f"{root}: no such folder, given as {key}; expected <folder>/<class>/<image>.jpg")
    with parsing(root, "an image folder"), os.scandir(root) as entries:
        here = {entry.name: entry.is_dir() for entry in entries}
    classes = sorted(name for name, folder in here.items() if folder and not name.startswith("."))
    loose = sorted(name for name, folder in here.items() if not folder and _is_called_image(name))
    if not by_class and (loose or not classes):
        sizes, skipped = files_below(root, _is_called_image)
        paths, labels, classes = list(sizes), [-1] * len(sizes), []
    else:
        sizes, skipped, paths, labels = {}, [], [], []
        for label, name in enumerate(classes):
            its, skipped_here = files_below(root, _is_called_image, name)
            sizes |= its
            paths += its
            labels += [label] * len(its)
            skipped += skipped_here
        if loose:
            log.warning("%s: ignored %d images outside of class folders, such as %s", root, len(loose), loose[0])
    if not paths:
        raise SourceError(
            f"{root}: no image in {len(classes)} class folders, given as {key}; expected <folder>/<class>/<image>.jpg, "
            "or another format that Pillow reads"
        )
    for entry in skipped:
        log.warning("%s: skipped %s: %s", root, *entry)
    digest = hashlib.sha256("".join(f"{path} {sizes[path]}\n" for path in paths).encode()).hexdigest()
    return ImageFolder(root, paths, np.array(labels, dtype=np.int32), classes, name_classes(classes), skipped, digest)


def _is_called_image(path: str) -> bool:
    name = os.path.basename(path)  # noqa: PTH119, called for every file
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES  # noqa: PTH122


def name_classes(folders: list[str]) -> list[str]:
    """Return readable class names: underscores become spaces, and ImageNet-1K's ids become open_clip's names."""
    if len(folders) == 1000 and all(WNID.fullmatch(folder) for folder in folders):
        from open_clip import IMAGENET_CLASSNAMES  # imported here, since no other folder needs the library

        return list(IMAGENET_CLASSNAMES)
    return [folder.replace("_", " ").encode(errors="backslashreplace").decode() for folder in folders]


def open_picture(path: str | Path) -> Image.Image:
    """Return an image file as an RGB picture. Transparent pixels are drawn on a white background."""
    with Image.open(path) as image:
        if image.has_transparency_data:
            picture = image.convert("RGBA")
            return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
        return image.convert("RGB")


def decoded_images(
    folder: ImageFolder,
    order: np.ndarray,
    transform: Transform,
    batch_size: int,
    start: int = 0,
    workers: int = 0,
    pin_memory: bool = False,
) -> Iterator[Batch]:
    """Decode images ``order[start:]`` in batches of ``batch_size``, or fewer if some are unreadable.

    Parameters
    ----------
    folder, order
        Images, and indices into them.
    transform
        Converts a picture to a tensor. If it raises, the image counts as unreadable.
    batch_size
        Images per batch. Starting at a multiple of ``batch_size`` yields the same batches as starting at 0.
    start
        Position in ``order`` to start at.
    workers
        Number of processes that decode; 0 for this process.
    pin_memory
        Whether to put tensors in pinned memory, from which a GPU can fetch them.
    """
    yield from DataLoader(
        _Images(folder, transform),
        batch_sampler=[order[first : first + batch_size].tolist() for first in range(start, len(order), batch_size)],
        num_workers=workers,
        collate_fn=_collate,
        pin_memory=pin_memory,
        generator=torch.Generator(),  # otherwise it would draw from the global generator
    )


_Item = tuple[int, str, Tensor | None, str]
"""Index, path, picture or None, reason for None."""


class _Images(Dataset[_Item]):
    def __init__(self, folder: ImageFolder, transform: Transform) -> None:
        self._root, self._paths, self._transform = folder.root, folder.paths, transform

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> _Item:
        path = self._root / self._paths[index]
        try:
            return index, self._paths[index], self._transform(open_picture(path)), ""
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


def fill_with_images(
    model: nn.Module,
    groups: Sequence[Mapping[str, Point]],
    fillings: Sequence[ItemRows],
    folder: ImageFolder,
    order: np.ndarray,
    transform: Transform,
    *,
    tokens: TokensOf,
    batch_size: int,
    workers: int,
    dtype: str,
    max_unreadable: float,
    show: Callable[[Any], None] | None = None,
) -> list[Skipped]:
    """Fill stores with the rows of images ``order`` of a folder; return the skipped images.

    The other parameters are those of `sdlcore.extraction.engine.fill`, `rows_by` and `decoded_images`.

    Raises
    ------
    SourceError
        If more than the share ``max_unreadable`` of the images cannot be read.
    """
    skipped = list[tuple[str, str]](min(fillings, key=lambda filling: (filling.is_full, filling.next)).progress.skipped)
    parameters = list(model.parameters())
    # in bfloat16, models of open_clip keep some parameters in float32
    first = next((parameter for parameter in parameters if parameter.ndim == 4), parameters[0])

    def calls(start: int) -> Iterator[Call]:
        for images, indices, unreadable in decoded_images(
            folder, order, transform, batch_size, start, workers, first.is_cuda
        ):
            for entry in unreadable:
                log.warning("%s: skipped %s: %s", folder.root, *entry)
            skipped.extend(unreadable)
            start = min(start + batch_size, len(order))
            if images is not None:
                x = images.to(first.dtype)
                inputs = {"pixel_values": x} if is_transformers(model) else x
                yield Call(inputs, Items(indices, start, tuple(Skipped(*entry) for entry in skipped)))

    fill(model, groups, fillings, calls, rows_by(tokens, prefix_of(model)), dtype, show)
    for filling in fillings:
        number = filling.next if filling.is_full else len(order)
        filling.progress = Progress(next=number, skipped=tuple(skipped))
        filling.commit()  # a higher max_unreadable continues from here
        tried = number + len(folder.skipped)
        if len(skipped) > max_unreadable * tried or len(skipped) == tried:
            named = "; ".join(f"{path} ({reason})" for path, reason in skipped[:MOST_NAMED])
            raise SourceError(
                f"{folder.root}: {len(skipped)} of {tried} images could not be read, more than max_unreadable "
                f"({max_unreadable:g}) allows, such as {named}; repair or remove them, or raise max_unreadable"
            )
    return [Skipped(*entry) for entry in skipped]


def write_skipped(path: str | Path, skipped: dict[str, list[Skipped]]) -> None:
    """Write a CSV file of skipped images: split, path, reason."""
    rows = [[split, *entry] for split, entries in skipped.items() for entry in entries]
    write_rows(path, [["split", "path", "reason"], *rows])


def transform_of(model: Any, processor: Any = None) -> Transform:
    """Return the preprocessing of a model's images.

    Parameters
    ----------
    model
        A model of transformers, open_clip or timm, or any module if there is a processor.
    processor
        A function of a picture, such as torchvision's transforms, or an image processor of transformers; None for the
        preprocessing that the model was trained with.

    Raises
    ------
    SourceError
        If the model does not say how it was trained.
    """
    if processor is None and is_transformers(model) and model.name_or_path:
        from transformers import AutoImageProcessor

        processor = AutoImageProcessor.from_pretrained(model.name_or_path)
    visual = getattr(model, "visual", model)
    if processor is None and hasattr(visual, "preprocess_cfg"):
        from open_clip.transform import PreprocessCfg, image_transform_v2

        return image_transform_v2(PreprocessCfg(**visual.preprocess_cfg), is_train=False)
    if processor is None and hasattr(model, "pretrained_cfg"):
        import timm.data

        return timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    if processor is None:
        raise SourceError(
            f"{type(model).__name__} does not say how to turn pictures into tensors; give processor: a transform of "
            "torchvision, or an image processor of transformers"
        )
    if not hasattr(processor, "image_processor") and not hasattr(processor, "to_dict"):
        return processor
    of_images = getattr(processor, "image_processor", processor)
    return lambda picture: torch.as_tensor(of_images(images=picture, return_tensors="pt")["pixel_values"][0])
