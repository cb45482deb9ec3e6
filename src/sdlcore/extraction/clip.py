"""Write CLIP embeddings of image folders to activation stores.

Every readable image of a folder becomes a row of an activation store, in a fixed random order, with its class index and
path. Unreadable images are skipped, counted and listed.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch

from sdlcore.data.resumable import ResumableWriter, resume_store
from sdlcore.device import choose_device
from sdlcore.errors import SourceError
from sdlcore.extraction.clip_config import ClipSource
from sdlcore.extraction.clip_models import embedder, load_clip, weights_digest
from sdlcore.extraction.folders import Skipped
from sdlcore.extraction.images import MOST_NAMED, Batch, decoded_images
from sdlcore.extraction.splits import Split, splits_of
from sdlcore.extras import extra
from sdlcore.identity import provenance
from sdlcore.memory import keep_freed_memory
from sdlcore.settings import FromList, Json, Settings
from sdlcore.storage.files import write_rows

with extra("clip"):
    import open_clip

log = logging.getLogger(__name__)

# images between commits, so at most this many are lost in a kill: a minute of ViT-B/32 on two cores, or half a second
# on a GPU
COMMIT_IMAGES = 1024
CONVENTIONS = {
    "pooled": "the image tower's output after its last layer norm, before the projection into the joint space",
    "joint": "the image's embedding in the space shared with texts, after the projection, not divided by its norm",
}
# settings that can make an extraction fail, but do not change its numbers
UNTRACKED = ("max_unreadable", "n_p")
EmbeddedBatches = Iterator[tuple[Batch, np.ndarray | None]]
"""Batches with their embeddings (B x n_p, float32), None where no image was readable."""


class Progress(Settings):
    """Progress of writing a split."""

    next: int
    """Index in the split of the next image."""
    skipped: Annotated[tuple[Annotated[tuple[str, str], FromList], ...], FromList]
    """Path and reason of each image that could not be read so far."""


class Extraction(NamedTuple):
    """A source of image embeddings with its model loaded and its images listed."""

    source: ClipSource
    splits: dict[str, Split]
    facts: dict[str, Json]
    batches: Callable[[Split, int], EmbeddedBatches]

    @property
    def class_names(self) -> list[str]:
        return self.splits["train"].folder.class_names

    def facts_of(self, split: str) -> dict[str, Json]:
        return self.facts | _facts_of(split, self.splits[split])

    def part(self, split: str, number: int, parts: int) -> "Extraction":
        """Return the extraction restricted to part ``number`` of ``parts`` of a split."""
        whole = self.splits[split]
        # images that the listing skipped are counted only in the first part
        folder = whole.folder if number == 0 else whole.folder._replace(skipped=[])
        few = Split(folder, whole.labels, np.array_split(whole.order, parts)[number])
        return self._replace(splits=self.splits | {split: few})

    def fill(self, writer: ResumableWriter, split: str) -> list[Skipped]:
        """Write the store of a split; return the skipped images."""
        skipped = _fill(writer, split, self.splits[split], self.source, self.batches)
        _require_readable(split, self.splits[split], skipped, self.source.max_unreadable)
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
        writers = {
            split: resume_store(path, self.facts_of(split), self.source.store_dtype, self.class_names)
            for split, path in (("train", train_path), ("test", test_path))
        }
        # both stores appear at the end; the parts of the first one survive a kill during the second
        with writers["train"] as train, writers["test"] as test:
            skipped = {split: self.fill(writer, split) for split, writer in (("train", train), ("test", test))}
            _write_skipped(skipped_path, skipped)

    def write_part(self, split: str, number: int, parts: int, path: str | Path, skipped_path: str | Path) -> None:
        """Write one part, counted from 0, of a store that `write` would write, and the list of its skipped images.

        The parts in order (`shards.unite`) contain the same rows as the whole. ``max_unreadable`` applies to each part.
        """
        work = self.part(split, number, parts)
        facts = work.facts_of(split) | {"shard": [number, parts]}
        with resume_store(path, facts, self.source.store_dtype, self.class_names) as writer:
            _write_skipped(skipped_path, {split: work.fill(writer, split)})


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
        Number of processes that decode images; 0 to decode in threads of this process.
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
    clip = load_clip(model or source.model, pretrained or source.pretrained, source.dtype, device)
    facts = provenance(
        source={key: value for key, value in source.to_dict().items() if key not in UNTRACKED},
        input=CONVENTIONS[source.embedding],
        references="path: of the image, relative to the image folder",
        architecture=open_clip.get_model_config(clip.architecture),
        weights_sha256=weights_digest(clip.model.visual),
        preprocessing={key: _plain(value) for key, value in clip.model.visual.preprocess_cfg.items()},
        precision={"forward": source.dtype, "stored": source.store_dtype},
        device=device,
        threads=threads,
    )
    embed = embedder(clip.model, source.embedding)

    def batches(split: Split, start: int) -> EmbeddedBatches:
        pinned = device == "cuda"
        pictures = decoded_images(
            split.folder, split.order, clip.preprocess, source.batch_size, start, workers, threads, pin_memory=pinned
        )
        return _embedded(pictures, embed, device, getattr(torch, source.dtype))

    return Extraction(source, splits, facts, batches)


def _embedded(
    pictures: Iterable[Batch], embed: Callable[[torch.Tensor], torch.Tensor], device: str, dtype: torch.dtype
) -> EmbeddedBatches:
    """Yield batches with their embeddings, one batch late.

    So a GPU computes the next batch while the previous one is fetched and written.
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
    batches: Callable[[Split, int], EmbeddedBatches],
) -> list[Skipped]:
    """Write the rest of a split after the writer's last commit; return all skipped images of the split."""
    begun = writer.state(Progress(next=0, skipped=tuple(part.folder.skipped)))
    start, skipped = begun.next, [Skipped(*entry) for entry in begun.skipped]
    every = max(1, COMMIT_IMAGES // source.batch_size)
    tenth = max(1, len(part.order) // 10)
    paths = np.array(part.folder.paths, dtype=object)
    if start:
        log.info("%s: resuming at image %d of %d", split, start, len(part.order))
    for number, (batch, z_BP) in enumerate(batches(part, start), start=1):
        if z_BP is not None:
            if source.n_p is not None and z_BP.shape[1] != source.n_p:
                raise SourceError(
                    f"n_p is {source.n_p}, but embeddings of {source.model} have {z_BP.shape[1]} dimensions"
                )
            writer.append(z_BP, labels=part.labels[batch.indices], references={"path": paths[batch.indices]})
        for entry in batch.skipped:
            log.warning("%s: skipped %s: %s", split, *entry)
        skipped += batch.skipped
        before, start = start, min(start + source.batch_size, len(part.order))
        if number % every == 0 or start == len(part.order):
            writer.commit(Progress(next=start, skipped=tuple(skipped)))
        if before // tenth < start // tenth:
            log.info("%s: %d of %d images, %d skipped", split, start, len(part.order), len(skipped))
    writer.provenance |= {"skipped": [entry._asdict() for entry in skipped]}
    return skipped


def _require_readable(split: str, part: Split, skipped: list[Skipped], limit: float) -> None:
    number = len(part.order) + len(part.folder.skipped)
    if len(skipped) <= limit * number and len(skipped) < number:
        return
    named = "; ".join(f"{entry.path} ({entry.reason})" for entry in skipped[:MOST_NAMED])
    named += "; ..." if len(skipped) > MOST_NAMED else ""
    raise SourceError(
        f"{part.folder.root}: {len(skipped)} of {number} images of the {split} store could not be read, more than "
        f"max_unreadable ({limit:g}) allows: {named}; repair or remove them, or raise max_unreadable"
    )


def _write_skipped(path: str | Path, skipped: Mapping[str, list[Skipped]]) -> None:
    rows = [[split, *entry] for split, entries in skipped.items() for entry in entries]
    write_rows(path, [["split", "path", "reason"], *rows])


def _facts_of(split: str, part: Split) -> dict[str, Json]:
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
