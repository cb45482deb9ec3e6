"""Write activations of language models to activation stores.

A text is split into documents, tokenised, and packed into contexts of fixed length, with a separator token between
documents. The model runs up to the deepest site. Each kept token becomes a row of an activation store. By default,
three kinds of rows are dropped and counted: position 0 of every context (the attention sink), separator tokens, and
other rows above a multiple of the median norm. Their norms are tens to hundreds of times larger than the norms of
other rows, so a dictionary would fit them alone.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import torch

from sdlcore.data.resumable import ResumableWriter, resume_store
from sdlcore.extraction.config import LanguageSource
from sdlcore.extraction.corpus import WHOLE, Share
from sdlcore.extraction.filling import Filling
from sdlcore.extraction.forward import Batch
from sdlcore.extraction.grouping import in_one, part_of
from sdlcore.extraction.preparation import Extraction, prepare
from sdlcore.extraction.tokens import following


def write_language_stores(
    sources: Sequence[LanguageSource],
    model: str | Path,
    text: str | Path,
    stores: Sequence[tuple[str | Path, str | Path]],
    threads: int = 1,
    device: torch.device | None = None,
) -> None:
    """Write activations to a training and an evaluation store for each source, in one pass of the model over the text.

    The stores are in float16, and have exactly ``train_samples`` and ``test_samples`` rows. References are
    ``document``, ``position`` (in the document) and ``token``. Documents are read in the order of `corpus`. Evaluation
    begins with the first document that no training context contains. If anything fails, no file appears. If the process
    is killed, the next call with equal settings continues from the last `filling.COMMIT_BATCHES` batches. With the same
    number of threads, it writes the same stores. A source's stores do not depend on the other sources.

    Parameters
    ----------
    sources
        Settings, which differ only in their sites.
    model
        Folder with a transformers checkpoint and its tokenizer, or name of a model at the hub.
    text
        A text, as for `open_text`.
    stores
        Training and evaluation store of each source, to write or replace.
    threads
        Number of torch threads, from now on for the whole process.
    device
        Device of the model; None for the CPU.

    Raises
    ------
    SourceError
        If the model or the text cannot be used, or the text has too few tokens.
    """
    first = sources[0]
    works = prepare(sources, model, text, first.train_samples + first.test_samples, WHOLE, threads, device)
    write_all(
        works,
        [{"train": (train, first.train_samples), "test": (test, first.test_samples)} for train, test in stores],
    )


Stores = Mapping[str, tuple[str | Path, int | None]]
"""Split (``train`` or ``test``) -> file and number of rows, None for all remaining rows. A store begins with the first
document that no context of the previous store contains."""


def write_all(works: Sequence[Extraction], stores: Sequence[Stores], show: Callable[[int], None] | None = None) -> None:
    """Write the stores of several extractions in float16, in one pass of their model.

    After a kill, each store continues from its last commit. Outliers are dropped from each store separately, so
    evaluation stores may begin at different documents; then each evaluation store takes a pass.

    Parameters
    ----------
    works
        The extractions, which differ only in their sites.
    stores
        The stores of each extraction.
    show
        Called with the number of rows in the first store after each batch.

    Raises
    ------
    SourceError
        If the text is too short or the disk too small.
    """
    with ExitStack() as opened:
        writers = [
            {
                split: opened.enter_context(resume_store(path, work.facts | {"split": split}, dtype="float16"))
                for split, (path, _) in its.items()
            }
            for work, its in zip(works, stores, strict=True)
        ]
        needed = 0
        for work, its, theirs in zip(works, stores, writers, strict=True):
            numbers = [rows for _, rows in its.values() if rows is not None]
            rows = sum(numbers) - sum(one.rows for one in theirs.values()) + max(numbers, default=0)
            needed += rows * work.bytes_of_row()
        works[0].require_disk(Path(next(iter(stores[0].values()))[0]).parent, needed)
        places, before = [0] * len(works), [0] * len(works)
        for split in stores[0]:
            fillings = [
                Filling(theirs[split], its[split][1], place, show if work is works[0] else None)
                for work, its, theirs, place in zip(works, stores, writers, places, strict=True)
            ]
            fill(works, fillings)
            for number, (work, filling) in enumerate(zip(works, fillings, strict=True)):
                if not filling.finish():
                    raise work.too_little(before[number] + filling.rows)
                places[number] = 1 + filling.last_place
                before[number] += filling.rows


def fill(works: Sequence[Extraction], fillings: Sequence[Filling]) -> None:
    """Fill stores. Stores that begin at the same document, or resume at the same place, share a pass."""
    starts = dict.fromkeys(one.first_place for one in fillings)
    for start in starts:
        members = {
            number: filling
            for number, filling in enumerate(fillings)
            if filling.first_place == start and not filling.is_full
        }
        if members:
            _fill_in_step(works, members)


def _fill_in_step(works: Sequence[Extraction], members: Mapping[int, Filling]) -> None:
    """Fill stores from the same contexts. A store with more rows already joins once the pass reaches its place."""
    sites = in_one({number: works[number].source.sites for number in members})
    place = min(filling.at for filling in members.values())
    with closing(works[0].batches(*place, sites=sites)) as batches:
        for batch in batches:
            for number, filling in members.items():
                if filling.at == place and not filling.is_full:
                    its = works[number].source.sites
                    values, norms = (part_of(columns, number, its) for columns in (batch.values, batch.norms))
                    filling.take(Batch(batch.tokens, values, norms), works[number].kinds)
            place = following(batch.tokens)
            if all(filling.is_full for filling in members.values()):
                break


def fill_one(work: Extraction, writer: ResumableWriter, rows: int) -> int:
    """Fill one store from the beginning of the text, and return the place of the last document in its contexts."""
    filling = Filling(writer, rows, 0)
    fill([work], [filling])
    if not filling.finish():
        raise work.too_little(filling.rows)
    return filling.last_place


def write_language_shard(
    source: LanguageSource,
    model: str | Path,
    text: str | Path,
    path: str | Path,
    number: int,
    parts: int,
    threads: int = 1,
    device: torch.device | None = None,
) -> None:
    """Write one store of a source that ``parts`` + 1 independent jobs extract.

    Jobs take documents in turn: job i takes documents i, i + ``parts`` + 1 and so on, and packs its own contexts. The
    first ``parts`` jobs write nearly equal parts of the training rows, and the last job writes the evaluation store. So
    no document is in both. `shards.unite` joins the parts. The joined rows come from about the same part of the text as
    the rows of `write_language_stores`, but from other contexts. Every job reads a streamed text completely, but
    tokenises only its own documents.

    Parameters
    ----------
    source, model, text, threads, device
        As for `write_language_stores`.
    path
        Store to write or replace.
    number
        Number of the job, from 0.
    parts
        Number of parts of the training rows, at least 1.

    Raises
    ------
    SourceError
        As `write_language_stores`.
    """
    split, rows = "test", source.test_samples
    if number < parts:
        split = "train"
        rows = (number + 1) * source.train_samples // parts - number * source.train_samples // parts
    share = Share(number, parts + 1)
    (work,) = prepare([source], model, text, rows, share, threads, device)
    with resume_store(path, work.facts | {"split": split, "share": list(share)}, dtype="float16") as writer:
        work.require_disk(Path(path).parent, (2 * rows - writer.rows) * work.bytes_of_row())
        fill_one(work, writer, rows)
