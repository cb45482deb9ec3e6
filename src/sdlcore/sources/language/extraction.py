"""Write activations of Llama-family language models to activation stores.

A text is cut into documents, tokenised, and packed into contexts of fixed length with a separator token
between documents. The model runs only up to the last block that is asked for, and each token that is kept becomes a
row of an activation store. Three kinds of rows are dropped and counted, unless a source keeps them, since their norms
are tens to hundreds of times the others' and a dictionary would be fitted to them alone: position 0 of every context
(the attention sink), separator tokens, and what is left above a multiple of the median norm.
"""

import logging
import math
import shutil
from collections.abc import Generator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch

from sdlcore.data.parts import ResumableWriter, resume_store
from sdlcore.memory import keep_freed_memory
from sdlcore.settings import Json
from sdlcore.sources.language.checkpoints import load_tokenizer, load_truncated, open_checkpoint
from sdlcore.sources.language.corpus import WHOLE, Share, Text, open_text
from sdlcore.sources.language.filling import Filling
from sdlcore.sources.language.forward import MEDIAN_ROWS, Batch, RowKinds, activations, median_norms
from sdlcore.sources.language.settings import LlamaSource
from sdlcore.sources.language.shape import beyond_positions, model_shape
from sdlcore.sources.language.tokens import contexts_of, opening_of, separator_of, tokenise
from sdlcore.storage.files import provenance
from sdlcore.storage.parsing import SourceError

log = logging.getLogger(__name__)

SPLIT = "split the text into more documents (a .txt file at blank lines, others by entries, lines or rows)"


class Extraction(NamedTuple):
    """A source with its model loaded and its text open."""

    source: LlamaSource
    corpus: Text
    share: Share
    """Documents that rows are made of."""
    rows: int
    """Rows that are asked for, all in all."""
    tokenizer: Any
    stack: Any
    kinds: RowKinds
    """Which rows are left out."""
    facts: dict[str, Json]
    """What identifies it, for provenance."""

    def batches(self, place: int = 0, position: int = 0, contexts: int | None = None) -> Generator[Batch, None, None]:
        """Yield activations from a token of the document in a place on, of so many ``contexts`` at most."""
        documents = self.corpus.documents(place, self.share)
        coming = contexts_of(documents, self.tokenizer, self.source.context_length, position)
        return activations(self.stack, self.source.sites, islice(coming, contexts), self.source.contexts_per_batch)

    def fill(self, writer: ResumableWriter, rows: int, place: int = 0, before: int = 0) -> int:
        """Write the first ``rows`` rows from ``place`` on, or what a killed process left of them.

        ``before`` counts the rows that were made of the documents before.

        Returns
        -------
        Place of the last document that a context of them touches.

        Raises
        ------
        SourceError
            If the text ends before.
        """
        filling = Filling(writer, rows, place)
        if not filling.run(self.batches, self.kinds):
            raise self.too_little(before + writer.rows)
        return filling.last_place

    def too_little(self, rows: int) -> SourceError:
        """Return what to say of a text that ended after ``rows`` rows."""
        return _too_little(self.corpus, self.tokenizer, self.source, self.share, self.rows, rows)

    def require_disk(self, folder: Path, rows: int, joined: int) -> None:
        """Refuse ``rows`` rows that do not fit on the disk, with a store of ``joined`` rows beside its parts."""
        needed = (rows + joined) * (2 * len(self.source.sites) * self.stack.config.hidden_size + 12)
        free = shutil.disk_usage(folder).free
        log.info("%.3g GB to write, %.3g GB free", needed / 1e9, free / 1e9)
        if needed > free:
            raise SourceError(
                f"{folder}: the stores and their parts need {needed / 1e9:.3g} GB, but the disk has "
                f"{free / 1e9:.3g} GB free; lower train_samples, put results elsewhere, or set stream"
            )


def prepare(
    source: LlamaSource,
    model: str | Path,
    text: str | Path,
    rows: int,
    share: Share = WHOLE,
    threads: int = 1,
    device: torch.device | None = None,
) -> Extraction:
    """Load a model and open a text to extract ``rows`` rows of a share of its documents.

    Outliers are measured by the median norms of the text's first contexts, whatever the share: some `MEDIAN_ROWS`
    tokens, position 0 and separators left out.

    Parameters
    ----------
    source, model, text, threads, device
        As for `extract`.
    rows
        Rows that are needed at least.
    share
        Documents that they are made of.

    Raises
    ------
    SourceError
        If the model or the text does not serve, contexts are longer than the model takes, or it can be told already
        that the text has too few tokens.
    """
    torch.set_num_threads(threads)
    keep_freed_memory()
    device = device or torch.device("cpu")
    checkpoint = open_checkpoint(model, source.revision)
    if problem := beyond_positions(model_shape(checkpoint.folder), source.context_length):
        raise SourceError(f"{model}: context_length: {problem}")
    tokenizer = load_tokenizer(checkpoint.folder)
    corpus = open_text(text, source.text_options)
    if corpus.whole:
        _require_length(corpus, tokenizer, source, share, rows)
    blocks = max(site.block for site in source.sites.values())
    stack = load_truncated(checkpoint.folder, blocks, source.dtype).to(device)
    separator, opening = separator_of(tokenizer), opening_of(tokenizer)
    ready = Extraction(source, corpus, share, rows, tokenizer, stack, RowKinds(separator, {}, source.drop), {})
    first = ready._replace(share=WHOLE).batches(contexts=math.ceil(MEDIAN_ROWS / source.context_length))
    medians = median_norms(first, separator, source.sites)
    if medians is None:
        raise ready.too_little(0)
    largest = {column: source.outlier_norm * median for column, median in medians.items()}
    facts = provenance(
        __file__,
        source=asdict(source),
        **{column: site.describe() for column, site in source.sites.items()},
        references=f"document: {corpus.facts['document']}; position: of the token in its document; token: its id",
        model=checkpoint.facts(),
        text=corpus.facts,
        separator={"token": tokenizer.convert_ids_to_tokens(separator), "id": separator},
        opening=None if opening is None else tokenizer.convert_ids_to_tokens(opening),
        median_norm=medians,
        largest_norm=largest,
        precision={"forward": source.dtype, "stored": "float16"},
        device=device.type,
        threads=threads,
    )
    return ready._replace(kinds=ready.kinds._replace(largest_norm=largest), facts=facts)


def extract(
    source: LlamaSource,
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
    with (
        resume_store(train_path, work.facts | {"split": "train"}, dtype="float16") as train,
        resume_store(test_path, work.facts | {"split": "test"}, dtype="float16") as test,
    ):
        largest = max(source.train_samples, source.test_samples)
        work.require_disk(Path(train_path).parent, rows - train.rows - test.rows, largest)
        last = work.fill(train, source.train_samples)
        work.fill(test, source.test_samples, last + 1, before=source.train_samples)


def extract_shard(
    source: LlamaSource,
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


def _require_length(corpus: Text, tokenizer: Any, source: LlamaSource, share: Share, rows: int) -> None:
    """Refuse a text that cannot have enough rows, before any model runs."""
    if not any(islice((document for document in corpus.documents() if document.text), 1, 2)):
        raise SourceError(
            f"{corpus.name}: has fewer than two documents, but training and evaluation take different ones; {SPLIT}"
        )
    least = _least_contexts(source, rows)
    contexts = contexts_of(corpus.documents(share=share), tokenizer, source.context_length)
    if sum(1 for _ in islice(contexts, least)) < least:
        raise _too_little(corpus, tokenizer, source, share, rows, rows)


def _least_contexts(source: LlamaSource, rows: int) -> int:
    """Return the contexts that are needed if nothing but position 0 is dropped."""
    return math.ceil(rows / (source.context_length - ("first_position" in source.drop)))


def _too_little(
    corpus: Text, tokenizer: Any, source: LlamaSource, share: Share, rows: int, found_rows: int
) -> SourceError:
    """Return what to say of a text that gave ``found_rows`` of the ``rows`` that are asked for, and then ended."""
    lengths = [len(document.ids) for document in tokenise(corpus.documents(share=share), tokenizer)]
    found, longest = sum(lengths), max(lengths, default=0)
    least = _least_contexts(source, rows) * source.context_length
    if share == WHOLE and found >= least and 2 * longest > found:
        return SourceError(
            f"{corpus.name}: has {found} tokens, but {longest} of them are one document, and training and evaluation "
            f"take different ones; {SPLIT}"
        )
    needed = math.ceil(max(least, found * rows / max(found_rows, 1), found + 1))
    where = "" if share == WHOLE else f" in the documents of share {share.number} of {share.of}"
    return SourceError(
        f"{corpus.name}: has {found} tokens{where}, but {rows} rows need about {needed}; take a longer text, or lower "
        "train_samples or test_samples"
    )
