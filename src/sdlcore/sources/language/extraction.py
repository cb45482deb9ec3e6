"""Write activations of Llama-family language models to activation stores.

A text is cut into documents, tokenised, and packed into contexts of fixed length with a separator token
between documents. The model runs only up to the last block that is asked for, and each token that is kept becomes a
row of an activation store. Three kinds of rows are dropped and counted, unless a source keeps them, since their norms
are tens to hundreds of times the others' and a dictionary would be fitted to them alone: position 0 of every context
(the attention sink), separator tokens, and what is left above a multiple of the median norm.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

import torch

from sdlcore.data.resumable import resume_store
from sdlcore.sources.language.corpus import Share
from sdlcore.sources.language.preparation import Extraction, prepare
from sdlcore.sources.language.settings import LanguageSource


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
        Folder with a transformers checkpoint of the Llama family and its tokenizer, or its name at the hub.
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
    rows = source.train_samples + source.test_samples
    work = prepare(source, model, text, rows, threads=threads, device=device)
    write_stores(work, {"train": (train_path, source.train_samples), "test": (test_path, source.test_samples)})


def write_stores(
    work: Extraction,
    stores: Mapping[str, tuple[str | Path, int | None]],
    told: Callable[[int], None] | None = None,
) -> None:
    """Write stores of float16, each with the rows that follow those of the one before in the text.

    Parameters
    ----------
    work
        The extraction.
    stores
        File and rows by split, ``train`` or ``test``; None for all rows that are left. A store begins with the first
        document that no context of the store before touches.
    told
        As of `Extraction.fill`.

    Raises
    ------
    SourceError
        If the text or the disk does not suffice.
    """
    with ExitStack() as opened:
        writers = {
            split: opened.enter_context(resume_store(path, work.facts | {"split": split}, dtype="float16"))
            for split, (path, _) in stores.items()
        }
        numbers = [rows for _, rows in stores.values() if rows is not None]
        folder = Path(next(iter(stores.values()))[0]).parent
        work.require_disk(folder, sum(numbers) - sum(one.rows for one in writers.values()), max(numbers, default=0))
        place = before = 0
        for split, (_, rows) in stores.items():
            place = 1 + work.fill(writers[split], rows, place, before, told)
            before += writers[split].rows


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

    Documents go round: job i takes every one whose place leaves the remainder i by ``parts`` + 1, and packs contexts of
    its own. The first ``parts`` jobs write as good as equal parts of the training rows, the last one the evaluation
    store. So no document is in both, and united (`shards.unite`) the rows are those of about the same part of the text
    as `extract` takes, packed otherwise. What is streamed is read, but not tokenised, by every job.

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
        work.require_disk(Path(path).parent, rows - writer.rows, rows)
        work.fill(writer, rows)
