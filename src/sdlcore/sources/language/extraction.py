"""Write activations of language models to activation stores.

A text is cut into documents, tokenised, and packed into contexts of fixed length with a separator token
between documents. The model runs up to the deepest site, and each token that is kept becomes a row of an activation
store. Three kinds of rows are dropped and counted, unless a source keeps them: position 0 of every context (the
attention sink), separator tokens, and other rows above a multiple of the median norm. Their norms are tens to hundreds
of times larger than the others', so that a dictionary would be fitted to them alone.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import torch

from sdlcore.data.resumable import ResumableWriter, resume_store
from sdlcore.sources.language.corpus import WHOLE, Share
from sdlcore.sources.language.filling import Filling
from sdlcore.sources.language.forward import Batch
from sdlcore.sources.language.grouping import in_one, part_of
from sdlcore.sources.language.preparation import Extraction, prepare, prepare_together
from sdlcore.sources.language.settings import LanguageSource
from sdlcore.sources.language.tokens import following


def extract(
    source: LanguageSource,
    model: str | Path,
    text: str | Path,
    train_path: str | Path,
    test_path: str | Path,
    threads: int = 1,
    device: torch.device | None = None,
) -> None:
    """Write activations of ``source`` to a training and an evaluation store, in float16.

    Exactly ``train_samples`` and ``test_samples`` rows; references are ``document``, ``position`` (in the
    document) and ``token``. Documents come in the order of `corpus`. Evaluation begins with the first document that no
    training context touches. If anything fails, neither file appears; if the process is killed, the next call with
    equal settings goes on from the last `filling.COMMIT_BATCHES` batches, to the same stores on the same number of
    threads.

    Parameters
    ----------
    source
        Settings.
    model
        Folder with a transformers checkpoint and its tokenizer, or its name at the hub.
    text
        What `open_text` takes.
    train_path, test_path
        Stores to make or replace.
    threads
        Threads of torch, for the whole process from then on.
    device
        Where the model runs; None for the CPU.

    Raises
    ------
    SourceError
        If the model or the text does not serve, or the text has too few tokens.
    """
    extract_together([source], model, text, [(train_path, test_path)], threads, device)


def extract_together(
    sources: Sequence[LanguageSource],
    model: str | Path,
    text: str | Path,
    stores: Sequence[tuple[str | Path, str | Path]],
    threads: int = 1,
    device: torch.device | None = None,
) -> None:
    """Write the stores of several sources by one pass of the model over the text, with the bits that `extract` writes.

    Parameters
    ----------
    sources
        Settings, which differ in their sites alone.
    model, text, threads, device
        As for `extract`.
    stores
        Training and evaluation store of each source.

    Raises
    ------
    SourceError
        As `extract`.
    """
    first = sources[0]
    works = prepare_together(sources, model, text, first.train_samples + first.test_samples, WHOLE, threads, device)
    write_all(
        works,
        [{"train": (train, first.train_samples), "test": (test, first.test_samples)} for train, test in stores],
    )


Stores = Mapping[str, tuple[str | Path, int | None]]
"""File and rows by split, ``train`` or ``test``; None for all rows that are left. A store begins with the first
document that no context of the store before touches."""


def write_all(works: Sequence[Extraction], stores: Sequence[Stores], told: Callable[[int], None] | None = None) -> None:
    """Write the stores of several extractions in float16, by one pass of their model.

    A killed call goes on with each store from its last commit. Evaluation stores that begin at different documents,
    since outliers are dropped from each for itself, take a pass each.

    Parameters
    ----------
    works
        The extractions, which differ in their sites alone.
    stores
        The stores of each.
    told
        Called with the number of rows in the first store after each batch.

    Raises
    ------
    SourceError
        If the text or the disk does not suffice.
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
                Filling(theirs[split], its[split][1], place, told if work is works[0] else None)
                for work, its, theirs, place in zip(works, stores, writers, places, strict=True)
            ]
            fill(works, fillings)
            for number, (work, filling) in enumerate(zip(works, fillings, strict=True)):
                if not filling.finish():
                    raise work.too_little(before[number] + filling.rows)
                places[number] = 1 + filling.last_place
                before[number] += filling.rows


def fill(works: Sequence[Extraction], fillings: Sequence[Filling]) -> None:
    """Fill stores by one pass for all that begin at the same document, or where killed processes left them."""
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
    """Fill stores from the same contexts. A store that has more rows already joins when the pass reaches its place."""
    sites = in_one({number: works[number].source.sites for number in members})
    place = min(filling.at for filling in members.values())
    with closing(works[0].batches(*place, sites=sites)) as batches:
        for batch in batches:
            for number, filling in members.items():
                if filling.at == place and not filling.is_full:
                    its = works[number].source.sites
                    values, norms = (part_of(found, number, its) for found in (batch.values, batch.norms))
                    filling.take(Batch(batch.tokens, values, norms), works[number].kinds)
            place = following(batch.tokens)
            if all(filling.is_full for filling in members.values()):
                break


def fill_one(work: Extraction, writer: ResumableWriter, rows: int) -> int:
    """Fill one store from the beginning of the text, and return the place of the last document that it touches."""
    filling = Filling(writer, rows, 0)
    fill([work], [filling])
    if not filling.finish():
        raise work.too_little(filling.rows)
    return filling.last_place


def extract_shard(
    source: LanguageSource,
    model: str | Path,
    text: str | Path,
    path: str | Path,
    number: int,
    parts: int,
    threads: int = 1,
    device: torch.device | None = None,
) -> None:
    """Write one of the stores that a source is extracted to by ``parts`` + 1 jobs, which know nothing of each other.

    Jobs take documents in turn: job i takes documents i, i + ``parts`` + 1 and so on, and packs its own contexts. The
    first ``parts`` jobs write nearly equal parts of the training rows, the last job the evaluation store. So no
    document is in both. United (`shards.unite`), the rows come from about the same part of the text as those of
    `extract`, from other contexts. Every job reads the whole of a streamed text, but tokenises its own documents alone.

    Parameters
    ----------
    source, model, text, threads, device
        As for `extract`.
    path
        Store to make or replace.
    number
        Which job, from 0.
    parts
        Parts of the training rows, at least 1.

    Raises
    ------
    SourceError
        As `extract`.
    """
    split, rows = "test", source.test_samples
    if number < parts:
        split = "train"
        rows = (number + 1) * source.train_samples // parts - number * source.train_samples // parts
    share = Share(number, parts + 1)
    work = prepare(source, model, text, rows, share, threads, device)
    with resume_store(path, work.facts | {"split": split, "share": list(share)}, dtype="float16") as writer:
        work.require_disk(Path(path).parent, (2 * rows - writer.rows) * work.bytes_of_row())
        fill_one(work, writer, rows)
