"""Image embeddings of CLIP models.

Every readable image of a folder becomes a row of an activation store, in an order shuffled once and for all, with the
index of its class and its path. What is unreadable is skipped, counted and listed.
"""

import csv
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from sdlcore.activations.clip_checkpoints import embedder, load_clip, weights_digest
from sdlcore.activations.images import Batch, ImageFolder, Skipped, decoded, list_images
from sdlcore.activations.store import ResumableWriter, resume_store
from sdlcore.activations.text import SourceError
from sdlcore.files import atomic_path, provenance
from sdlcore.streams import stream

log = logging.getLogger(__name__)

# images after which a kill loses nothing of what came before: a minute of ViT-B/32 on two cores, half a second of it
# on a GPU
COMMIT_IMAGES = 1024
NAMED = 5
KEYS = "(of a source under sources.clip)"
# what decides whether there is a store, but not what it holds
UNTRACKED = ("max_unreadable", "n_p")
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


def extract(
    source: ClipSource,
    images: str | Path,
    test_images: str | Path | None,
    train_path: str | Path,
    test_path: str | Path,
    skipped_path: str | Path,
    *,
    model: str | None = None,
    pretrained: str | None = None,
    workers: int = 0,
    device: str = "cpu",
    threads: int = 1,
) -> None:
    """Write the embeddings of a folder's images to a training and an evaluation store, and a list of what was skipped.

    Labels count the training folder's classes; the reference ``path`` is relative to the split's folder. If anything
    fails, no file appears.

    Parameters
    ----------
    source
        Settings.
    images
        Folder in ImageFolder layout.
    test_images
        Folder of the evaluation store's images, of the same classes; None to hold out ``source.test_samples`` random
        ones of ``images``.
    train_path, test_path
        Stores to make or replace.
    skipped_path
        CSV file to write: split, path, reason.
    model, pretrained
        Where `load_clip` finds them, if not by the names in ``source``.
    workers
        Processes that decode images.
    device
        cpu, cuda, or auto for a GPU where torch sees one.
    threads
        Threads of torch, for the whole process from then on.

    Raises
    ------
    SourceError
        If the folders or the model do not serve, or more than ``source.max_unreadable`` of a store's images cannot be
        read.
    """
    torch.set_num_threads(threads)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    splits = _splits(source, images, test_images)
    clip = load_clip(model or source.model, pretrained or source.pretrained, source.dtype, device)
    facts = provenance(
        __file__,
        source={key: value for key, value in asdict(source).items() if key not in UNTRACKED},
        input=CONVENTIONS[source.embedding],
        references="path: of the image, relative to the image folder",
        architecture=clip.architecture,
        weights_sha256=weights_digest(clip.model.visual),
        preprocessing={key: _plain(value) for key, value in clip.model.visual.preprocess_cfg.items()},
        precision={"forward": source.dtype, "stored": source.store_dtype},
        device=device,
        threads=threads,
    )
    embed = embedder(clip.model, source.embedding)

    def batches(split: Split, start: int) -> Iterator[tuple[Batch, np.ndarray | None]]:
        pictures = decoded(
            split.folder, split.order, clip.preprocess, source.batch_size, start, workers, pin_memory=device == "cuda"
        )
        return _embedded(pictures, embed, device, getattr(torch, source.dtype))

    names = splits["train"].folder.class_names
    writers = {
        split: resume_store(path, facts | _facts_of(split, splits[split]), source.store_dtype, names)
        for split, path in (("train", train_path), ("test", test_path))
    }
    # both stores appear at the end: a run that is killed in the second one has not lost the first
    with writers["train"] as train, writers["test"] as test:
        skipped = {}
        for split, writer in (("train", train), ("test", test)):
            skipped[split] = _fill(writer, split, splits[split], source, batches)
            _require_readable(split, splits[split], skipped[split], source.max_unreadable)
        _write_skipped(skipped_path, skipped)


def _splits(source: ClipSource, images: str | Path, test_images: str | Path | None) -> dict[str, Split]:
    """Return which images go where. What an image folder is and a sample's number decide it, no order of a disk."""
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


def _embedded(
    pictures: Iterable[Batch], embed: Callable[[torch.Tensor], torch.Tensor], device: str, dtype: torch.dtype
) -> Iterator[tuple[Batch, np.ndarray | None]]:
    """Yield batches with their embeddings (B x n_p, float32), or None where no image was readable.

    One batch behind: a GPU computes the next while the last is being fetched and written.
    """
    waiting: tuple[Batch, torch.Tensor | None] | None = None
    for batch in pictures:
        with torch.inference_mode():
            z = None if batch.images is None else embed(batch.images.to(device, dtype, non_blocking=True))
        if waiting is not None:
            yield _fetched(*waiting)
        waiting = batch._replace(images=None), z
    if waiting is not None:
        yield _fetched(*waiting)


def _fetched(batch: Batch, z: torch.Tensor | None) -> tuple[Batch, np.ndarray | None]:
    return batch, None if z is None else z.float().cpu().numpy()


def _fill(
    writer: ResumableWriter,
    split: str,
    part: Split,
    source: ClipSource,
    batches: Callable[[Split, int], Iterator[tuple[Batch, np.ndarray | None]]],
) -> list[Skipped]:
    """Write the rows of a split from where the writer stands; return what was skipped of it, all in all."""
    state = writer.state
    start: int = state.get("next", 0)
    skipped = [Skipped(*entry) for entry in state.get("skipped", part.folder.skipped)]
    every = max(1, COMMIT_IMAGES // source.batch_size)
    tenth = max(1, len(part.order) // 10)
    paths = np.array(part.folder.paths, dtype=object)
    if start:
        log.info("%s: goes on at image %d of %d", split, start, len(part.order))
    for number, (batch, z_BP) in enumerate(batches(part, start), start=1):
        if z_BP is not None:
            if source.n_p is not None and z_BP.shape[1] != source.n_p:
                raise SourceError(
                    f"n_p is {source.n_p}, but {source.model} gives embeddings of {z_BP.shape[1]} dimensions"
                )
            writer.append(z_BP, labels=part.labels[batch.indices], references={"path": paths[batch.indices]})
        for entry in batch.skipped:
            log.warning("%s: skipped %s: %s", split, *entry)
        skipped += batch.skipped
        before, start = start, min(start + source.batch_size, len(part.order))
        if number % every == 0 or start == len(part.order):
            writer.commit({"next": start, "skipped": skipped})
        if before // tenth < start // tenth:
            log.info("%s: %d of %d images, %d skipped", split, start, len(part.order), len(skipped))
    writer.provenance |= {"skipped": [entry._asdict() for entry in skipped]}
    return skipped


def _require_readable(split: str, part: Split, skipped: list[Skipped], limit: float) -> None:
    asked = len(part.order) + len(part.folder.skipped)
    if len(skipped) <= limit * asked and len(skipped) < asked:
        return
    named = "; ".join(f"{entry.path} ({entry.reason})" for entry in skipped[:NAMED])
    raise SourceError(
        f"{part.folder.root}: {len(skipped)} of {asked} images of the {split} store could not be read, more than "
        f"max_unreadable ({limit:g}) allows: {named}{'; ...' if len(skipped) > NAMED else ''}; mend or remove them, or "
        "raise max_unreadable"
    )


def _write_skipped(path: str | Path, skipped: Mapping[str, list[Skipped]]) -> None:
    with atomic_path(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["split", "path", "reason"])
        table.writerows([split, *entry] for split, entries in skipped.items() for entry in entries)


def _facts_of(split: str, part: Split) -> dict[str, Any]:
    counts = np.bincount(part.labels[part.order], minlength=len(part.folder.classes))
    return {
        "split": split,
        "image_folder": str(part.folder.root),
        "images_sha256": part.folder.digest,
        "images": len(part.order),
        "classes_without_images": int((counts == 0).sum()),
    }


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
