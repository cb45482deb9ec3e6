"""Write activations of vision models on image folders to the stores of a pipeline.

Every readable image of a folder becomes a row of an activation store, in a fixed random order, with its class index and
path; with ``tokens: patches``, every patch. Unreadable images are skipped, counted and listed.
"""

import hashlib
import logging
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from sdlcore.data.writing import ResumableWriter, resume_store
from sdlcore.device import choose_device
from sdlcore.errors import SourceError
from sdlcore.extraction.clip_config import ClipSource
from sdlcore.extraction.folders import Skipped
from sdlcore.extraction.hooks import Point, point_at
from sdlcore.extraction.images import ImageFolder, Transform, fill_with_images, list_images, write_skipped
from sdlcore.extraction.items import WITHIN, ItemRows
from sdlcore.extraction.vision import image_tower, load_clip, load_vision
from sdlcore.extras import extra
from sdlcore.identity import provenance
from sdlcore.memory import keep_freed_memory
from sdlcore.random_streams import stream
from sdlcore.settings import Json

with extra("clip"):
    import open_clip

log = logging.getLogger(__name__)

KEYS = "(of a source under sources.clip)"
CONVENTIONS = {
    "pooled": "the image tower's output after its last layer norm, before the projection into the joint space",
    "joint": "the image's embedding in the space shared with texts, after the projection, not divided by its norm",
}
# settings that can make an extraction fail, but do not change its numbers
UNTRACKED = ("max_unreadable", "n_p")
NEW_SETTINGS = {"at": None, "tokens": "all"}


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


class Extraction(NamedTuple):
    """A source of images with its model loaded and its images listed."""

    source: ClipSource
    splits: dict[str, Split]
    facts: dict[str, Json]
    model: Any
    point: Point
    preprocess: Transform
    workers: int

    def facts_of(self, split: str) -> dict[str, Json]:
        """Return the provenance of a store."""
        part = self.splits[split]
        counts = np.bincount(part.labels[part.order], minlength=len(part.folder.classes))
        return self.facts | {
            "split": split,
            "image_folder": str(part.folder.root),
            "images_sha256": part.folder.digest,
            "images": len(part.order),
            "classes_without_images": int((counts == 0).sum()),
        }

    def fill(self, writer: ResumableWriter, split: str) -> list[Skipped]:
        """Write the store of a split; return the skipped images."""
        source, part = self.source, self.splits[split]
        names, within = np.array(part.folder.paths, dtype=object), WITHIN.get(source.tokens) if source.at else None
        filling = ItemRows(writer, None, "path", names, within, part.labels, part.folder.skipped)
        if filling.next:
            log.info("%s: resuming at image %d of %d", split, filling.next, len(part.order))
        skipped = fill_with_images(
            self.model,
            [{"input": self.point}],
            [filling],
            part.folder,
            part.order,
            self.preprocess,
            tokens=source.tokens,
            batch_size=source.batch_size,
            workers=self.workers,
            dtype="float32",
            max_unreadable=source.max_unreadable,
        )
        filling.finish()
        return skipped

    def write(self, train_path: str | Path, test_path: str | Path, skipped_path: str | Path) -> None:
        """Write the training and the evaluation store, and a CSV file of skipped images: split, path, reason.

        Labels are indices of the training folder's classes; the reference ``path`` is relative to the split's folder.
        If anything fails, no file appears.

        Raises
        ------
        SourceError
            If more than ``max_unreadable`` of a store's images cannot be read.
        """
        names, dtype = self.splits["train"].folder.class_names, self.source.store_dtype
        # both stores appear at the end; the parts of the first one survive a kill during the second
        with (
            resume_store(train_path, self.facts_of("train"), dtype, names) as train,
            resume_store(test_path, self.facts_of("test"), dtype, names) as test,
        ):
            write_skipped(
                skipped_path, {split: self.fill(writer, split) for split, writer in (("train", train), ("test", test))}
            )

    def write_part(self, split: str, number: int, parts: int, path: str | Path, skipped_path: str | Path) -> None:
        """Write one part, counted from 0, of a store that `write` would write, and the list of its skipped images.

        The parts in order (`shards.unite`) contain the same rows as the whole. ``max_unreadable`` applies to each part.
        """
        whole = self.splits[split]
        # images that the listing skipped are counted only in the first part
        folder = whole.folder if number == 0 else whole.folder._replace(skipped=[])
        part = Split(folder, whole.labels, np.array_split(whole.order, parts)[number])
        work = self._replace(splits=self.splits | {split: part})
        facts, names = work.facts_of(split) | {"shard": [number, parts]}, self.splits["train"].folder.class_names
        with resume_store(path, facts, self.source.store_dtype, names) as writer:
            write_skipped(skipped_path, {split: work.fill(writer, split)})


def clip_extraction(
    source: ClipSource,
    images: str | Path,
    test_images: str | Path | None = None,
    *,
    model: str | None = None,
    pretrained: str | None = None,
    workers: int = 0,
    device: str = "cpu",
    threads: int = 1,
) -> Extraction:
    """Prepare an extraction: list images and load the model.

    Parameters
    ----------
    source
        Settings.
    images
        Folder in ImageFolder layout.
    test_images
        Folder of the evaluation store's images, with the same classes; None to hold out ``source.test_samples`` random
        images of ``images``.
    model, pretrained
        Arguments of `load_clip`; None for the names in ``source``.
    workers
        Number of processes that decode images; 0 to decode in this process.
    device
        cpu, cuda, or auto for a GPU if torch sees one.
    threads
        Number of torch threads, from now on for the whole process.

    Raises
    ------
    SourceError
        If the folders or the model cannot be used.
    """
    torch.set_num_threads(threads)
    keep_freed_memory()
    device = choose_device(device).type
    splits = splits_of(source, images, test_images)
    model, pretrained = model or source.model, pretrained or source.pretrained
    settings = {name: value for name, value in source.to_dict().items() if name not in UNTRACKED}
    settings = {name: value for name, value in settings.items() if NEW_SETTINGS.get(name, ...) != value}
    if ":" in model:
        if source.at is None:
            raise SourceError(f"{model}: only models of open_clip have an embedding; set at to the path of a module")
        visual, preprocess = load_vision(model, source.dtype, device)
        origin: dict[str, Json] = {"architecture": model, "preprocessing": str(preprocess)}
    else:
        clip = load_clip(model, pretrained, source.dtype, device)
        visual, preprocess = clip.model.visual, clip.preprocess
        origin = {
            "architecture": open_clip.get_model_config(clip.architecture),
            "preprocessing": {key: _plain(value) for key, value in visual.preprocess_cfg.items()},
        }
    digest = weights_digest(visual)
    if source.at is None and ":" not in model:
        visual = image_tower(clip.model, source.embedding)
    point = point_at(visual, source.at or "")
    facts = provenance(
        source=settings,
        input=CONVENTIONS[source.embedding] if source.at is None else f"{source.tokens} of {source.at}",
        references="path: of the image, relative to the image folder",
        weights_sha256=digest,
        precision={"forward": source.dtype, "stored": source.store_dtype},
        device=device,
        threads=threads,
        **origin,
    )
    return Extraction(source, splits, facts, visual, point, preprocess, workers)


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
        held_out = source.test_samples or 0
        if not 0 < held_out < len(train.paths):
            raise SourceError(
                f"{images}: has {len(train.paths)} images, but test_samples would hold out {held_out}; change "
                "test_samples, or set test_images to a folder"
            )
        order = stream(0, "images", "held out").permutation(len(train.paths))
        indices = _first(order[held_out:], source.train_samples, images, "train_samples")
        return {
            "train": Split(train, train.labels, indices),
            # images that the listing skipped are counted only for training
            "test": Split(train._replace(skipped=[]), train.labels, order[:held_out]),
        }
    test = list_images(test_images, f"test_images {KEYS}")
    if Path(images).samefile(test_images):
        raise SourceError(
            f"{test_images}: is the same folder as {images}; leave test_images out and set test_samples to hold out "
            "images"
        )
    if unknown := sorted(set(test.classes) - set(train.classes)):
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


def weights_digest(module: torch.nn.Module) -> str:
    """Return the SHA-256 of a module's weights, which does not depend on the file that they came from."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
