"""Write activations of vision models on image folders to the stores of a pipeline.

Every readable image of a folder becomes a row of an activation store, in a fixed random order, with its class index and
path. With ``tokens: patches``, every patch becomes a row. Unreadable images are skipped, counted and listed.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from sdlcore.device import choose_device
from sdlcore.errors import SourceError
from sdlcore.extraction.config import ClipSource
from sdlcore.extraction.filling import fill_stores, item_plans
from sdlcore.extraction.hooks import point_at
from sdlcore.extraction.images import ImageFolder, image_inputs, list_images, transform_of
from sdlcore.extraction.models import load_vision, model_facts, open_clip, register_architecture
from sdlcore.identity import provenance
from sdlcore.memory import keep_freed_memory
from sdlcore.random_streams import stream
from sdlcore.storage.files import write_rows

KEYS = "(of a source under sources.clip)"
CONVENTIONS = {
    "pooled": "the image tower's output after its last layer norm, before the projection into the joint space",
    "joint": "the image's embedding in the space shared with texts, after the projection, not divided by its norm",
}
# settings that can make an extraction fail, but do not change its numbers
UNTRACKED = ("max_unreadable", "n_p")


class Split(NamedTuple):
    """The images of one store."""

    folder: ImageFolder
    labels: np.ndarray
    """Class index of each image in the folder, among the *training* folder's classes."""
    order: np.ndarray
    """Indices of the images to embed, in the order of the store."""


def write_image_stores(
    source: ClipSource,
    images: str | Path,
    test_images: str | Path | None,
    stores: Mapping[str, str | Path],
    skipped_path: str | Path,
    *,
    part: tuple[int, int] | None = None,
    model: str | None = None,
    pretrained: str | None = None,
    workers: int = 0,
    device: str = "cpu",
) -> None:
    """Write the training and the evaluation store of a source, and a CSV file of skipped images: split, path, reason.

    Labels are indices of the training folder's classes; the reference ``path`` is relative to the split's folder. If
    anything fails, no file appears.

    Parameters
    ----------
    images, test_images
        Folders in ImageFolder layout with the same classes. Without ``test_images``, ``source.test_samples`` random
        images of ``images`` are held out.
    stores
        train, test or both -> file to write.
    model, pretrained
        Arguments of `load_clip`, or of `load_vision` if ``model`` contains a colon; None for the names in ``source``.
    part
        Number of a part of the stores, from 0, and number of parts; None for whole stores. The parts in order
        (`sdlcore.data.shards.unite`) contain the same rows as the whole. ``max_unreadable`` applies to each part.
    workers
        Number of processes that decode images; 0 to decode in this process.
    device
        cpu, cuda, or auto for a GPU if torch sees one.

    Raises
    ------
    SourceError
        If the folders or the model cannot be used, or more than ``max_unreadable`` of a store's images are unreadable.
    """
    keep_freed_memory()
    device = choose_device(device).type
    splits = splits_of(source, images, test_images)
    model, pretrained = model or source.model, pretrained or source.pretrained
    is_clip = ":" not in model
    if source.at is None and not is_clip:
        raise SourceError(f"{model}: only models of open_clip have an embedding; set at to the path of a module")
    visual = load_vision(f"open_clip:{model}:{pretrained}" if is_clip else model, source.dtype, device)
    weights = model_facts(visual)["sha256"]
    if source.at is None and source.embedding == "pooled":
        remove_projection(visual)
    architecture: Any = open_clip().get_model_config(register_architecture(model)) if is_clip else model
    transform, point = transform_of(visual), point_at(visual, source.at or "")
    preprocessing: Any = getattr(visual, "preprocess_cfg", None) or str(transform)
    facts = provenance(
        source={name: value for name, value in source.to_dict().items() if name not in UNTRACKED},
        input=CONVENTIONS[source.embedding] if source.at is None else f"{source.tokens} of {source.at}",
        references="path: of the image, relative to the image folder",
        architecture=architecture,
        weights_sha256=weights,
        preprocessing=preprocessing,
        precision={"forward": source.dtype, "stored": source.store_dtype},
        device=device,
        threads=torch.get_num_threads(),
    )
    skipped = []
    with ExitStack() as stack:  # all stores appear at the end, so that a kill during the second keeps the first
        for split, path in stores.items():
            folder, labels, order = splits[split]
            order = order if part is None else np.array_split(order, part[1])[part[0]]
            counts = np.bincount(labels[order], minlength=len(folder.classes))
            split_facts = facts | {
                "split": split,
                "image_folder": str(folder.root),
                "images_sha256": folder.digest,
                "images": len(order),
                "classes_without_images": int((counts == 0).sum()),
            }
            if part is not None:
                split_facts["shard"] = list(part)
            inputs = image_inputs(
                visual, folder, order, transform, source.tokens, source.batch_size, workers, source.max_unreadable
            )
            paths, class_names = np.array(folder.paths, dtype=object), splits["train"].folder.class_names
            tokens = source.tokens if source.at else "cls"  # an embedding is one row
            (plan,) = item_plans(split_facts, "path", tokens, [{"input": point}], paths, labels, class_names)
            (progress,) = fill_stores(stack, visual, inputs, {path: plan}, None, source.store_dtype)
            skipped += [[split, *entry] for entry in progress.skipped]
        write_rows(skipped_path, [["split", "path", "reason"], *skipped])


def remove_projection(visual: Any) -> None:
    """Remove the projection into the joint space from an image tower of open_clip; SourceError if there is none."""
    if getattr(visual, "proj", None) is None:
        raise SourceError(
            "embedding: pooled needs an open_clip vision transformer with a projection, but the image tower is a "
            f"{type(visual).__name__} without one; set embedding to joint, or at to the path of a module"
        )
    visual.proj = None


def splits_of(source: ClipSource, images: str | Path, test_images: str | Path | None) -> dict[str, Split]:
    """Choose the images of the training and the evaluation store, by the sorted content of the folders.

    SourceError if a folder cannot be used, has too few images or other classes.
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
        return {"train": Split(train, train.labels, indices), "test": Split(train, train.labels, order[:held_out])}
    test = list_images(test_images, f"test_images {KEYS}")
    if unknown := sorted(set(test.classes) - set(train.classes)):
        raise SourceError(
            f"{test_images}: class folder {unknown[0]} is missing in {images}; test_images must have the same classes"
        )
    index = np.array([train.classes.index(name) for name in test.classes], dtype=np.int32)
    train_order = stream(0, "images", "train").permutation(len(train.paths))
    test_order = stream(0, "images", "test").permutation(len(test.paths))
    return {
        "train": Split(train, train.labels, _first(train_order, source.train_samples, images, "train_samples")),
        "test": Split(test, index[test.labels], _first(test_order, source.test_samples, test_images, "test_samples")),
    }


def _first(order: np.ndarray, samples: int | None, images: str | Path, key: str) -> np.ndarray:
    if samples is not None and samples > len(order):
        raise SourceError(f"{images}: has {len(order)} images, but {key} is {samples}; lower {key} or set it to null")
    return order[:samples]
