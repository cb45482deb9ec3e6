"""List image folders, and decode their images in batches.

Every format that Pillow reads counts. Unreadable images are skipped with a reason and cause no error, since every
folder of a million images contains some.
"""

import hashlib
import logging
import os
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from sdlcore.errors import SourceError
from sdlcore.extraction.config import TokensOf
from sdlcore.extraction.engine import Call, Items, prefix_of, rows_by
from sdlcore.extraction.filling import Inputs, ItemProgress
from sdlcore.extraction.folders import files_below
from sdlcore.extraction.hooks import is_transformers
from sdlcore.extras import extra
from sdlcore.storage.parsing import describe_error

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
    """The images of a folder, ordered by name."""

    root: Path
    paths: list[str]
    """N paths relative to ``root``, with forward slashes."""
    labels: np.ndarray
    """N class indices, int32."""
    classes: list[str]
    """Names of the class folders, sorted, including empty folders; none in a folder without class folders."""
    class_names: list[str]
    """Readable names of the classes (`name_classes`)."""
    digest: str
    """SHA-256 of the paths and sizes."""


class DecodedImages(NamedTuple):
    """A batch of decoded images."""

    images: Tensor | None
    """B x 3 x height x width, or None if none was readable."""
    indices: list[int]
    """B indices into the folder's paths."""
    skipped: list[tuple[str, str]]
    """Path and reason of each unreadable image of the batch."""


def list_images(root: str | Path, key: str = "images", by_class: bool = True) -> ImageFolder:
    """List an image folder, without opening the images.

    The folder has a folder for each class, as torchvision's ImageFolder: <root>/<class>/**/<image>.jpg. With
    ``by_class``, images outside of class folders are left out. Otherwise, images anywhere below ``root`` count, and
    have no classes unless all are in class folders. ``key`` is the folder's key in a configuration, for errors.
    SourceError if the folder does not exist, or contains no class folder or no image.
    """
    root = Path(root)
    if not root.is_dir():
        raise SourceError(f"{root}: no such folder, given as {key}; expected <folder>/<class>/<image>.jpg")
    sizes = files_below(root, _has_image_name)
    loose = [path for path in sizes if "/" not in path]
    classes = sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    if by_class or (classes and not loose):
        if loose:
            log.warning("%s: ignored %d images outside of class folders, such as %s", root, len(loose), loose[0])
        label_of = {name: label for label, name in enumerate(classes)}
        labels = {path: label_of[top] for path in sizes if (top := path.partition("/")[0]) in label_of}
    else:
        classes, labels = [], dict.fromkeys(sizes, -1)
    if not labels:
        raise SourceError(
            f"{root}: no image in {len(classes)} class folders, given as {key}; expected <folder>/<class>/<image>.jpg, "
            "or another format that Pillow reads"
        )
    # by class and then by path, which differ where a name of a class begins with another
    paths = sorted(labels, key=lambda path: (labels[path], path))
    digest = hashlib.sha256("".join(f"{path} {sizes[path]}\n" for path in paths).encode()).hexdigest()
    numbers = np.array([labels[path] for path in paths], dtype=np.int32)
    return ImageFolder(root, paths, numbers, classes, name_classes(classes), digest)


def _has_image_name(path: str) -> bool:
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
) -> Iterator[DecodedImages]:
    """Decode images ``order[start:]`` in batches of ``batch_size``, or fewer if some are unreadable.

    An image counts as unreadable if Pillow or ``transform`` raises. ``workers`` processes decode; 0 for this process.
    Starting at a multiple of ``batch_size`` yields the same batches as starting at 0.
    """
    parts = [order[first : first + batch_size] for first in range(start, len(order), batch_size)]
    yield from DataLoader(
        _Batches(folder, parts, transform),
        batch_size=None,
        num_workers=workers,
        collate_fn=DecodedImages._make,  # leaves a batch as it is
        generator=torch.Generator(),  # otherwise it would draw from the global generator
    )


class _Batches(Dataset[DecodedImages]):
    """Batches of images, decoded by the process that asks for them."""

    def __init__(self, folder: ImageFolder, batches: list[np.ndarray], transform: Transform) -> None:
        self._folder, self._batches, self._transform = folder, batches, transform

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, number: int) -> DecodedImages:
        images, indices, skipped = [], [], []
        for index in self._batches[number].tolist():
            name = self._folder.paths[index]
            path = self._folder.root / name
            try:
                images.append(self._transform(open_picture(path)))
                indices.append(index)
            except MemoryError:
                raise
            except Exception as error:  # decoders raise nearly any exception for a broken file
                skipped.append((name, describe_error(error, path)))
        return DecodedImages(torch.stack(images) if images else None, indices, skipped)


def image_inputs(
    model: nn.Module,
    folder: ImageFolder,
    order: np.ndarray,
    transform: Transform,
    tokens: TokensOf,
    batch_size: int,
    workers: int,
    max_unreadable: float,
) -> Inputs:
    """Return images of a folder, by their indices ``order``, as the inputs of a model."""
    parameters = list(model.parameters())
    # in bfloat16, models of open_clip keep some parameters in float32
    dtype = next((parameter for parameter in parameters if parameter.ndim == 4), parameters[0]).dtype

    def calls(progress: ItemProgress) -> Iterator[Call]:
        skipped, start = list(progress.skipped), progress.next
        for images, indices, unreadable in decoded_images(folder, order, transform, batch_size, start, workers):
            for entry in unreadable:
                log.warning("%s: skipped %s: %s", folder.root, *entry)
            skipped += unreadable
            start = min(start + batch_size, len(order))
            x = None if images is None else images.to(dtype)
            inputs = {"pixel_values": x} if x is not None and is_transformers(model) else x
            yield Call(inputs, Items(indices, start, tuple(skipped)))

    rows, check = rows_by(tokens, prefix_of(model)), partial(check_unreadable, folder, max_unreadable)
    return Inputs(str(folder.root), calls, rows, "give more images, or lower max_tokens", check)


def check_unreadable(folder: ImageFolder, largest_share: float, progress: ItemProgress) -> None:
    """Raise `SourceError` if more than this share of the images that were tried, or all, could not be read."""
    skipped, tried = progress.skipped, progress.next
    if len(skipped) > largest_share * tried or len(skipped) == tried:
        named = "; ".join(f"{path} ({reason})" for path, reason in skipped[:MOST_NAMED])
        raise SourceError(
            f"{folder.root}: {len(skipped)} of {tried} images could not be read, more than max_unreadable "
            f"({largest_share:g}) allows, such as {named}; repair or remove them, or raise max_unreadable"
        )


def transform_of(model: Any, processor: Any = None) -> Transform:
    """Return the preprocessing of a model's images, by its processor, or as the model was trained.

    ``model`` is from transformers, open_clip or timm; or any module with a ``processor``: a function of a picture, such
    as torchvision's transforms, or an image processor of transformers. SourceError if the model does not say how it was
    trained.
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
