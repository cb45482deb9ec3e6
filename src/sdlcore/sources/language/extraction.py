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
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack
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

PIPELINE_LIMITS = "train_samples or test_samples"
AS_GIVEN = "number of the document in the list"
REST_OF_REFERENCES = "position: of the token in its document; token: its id"
SPLIT = "split the text into more documents (a .txt file at blank lines, others by entries, lines or rows)"


class Model(NamedTuple):
    """A language model to extract from."""

    name: str
    """For messages."""
    tokenizer: Any
    facts: dict[str, Json]
    """What identifies it, for provenance."""
    stack: Callable[[int], Any]
    """Returns its first blocks, so many, without the unembedding."""


class Extraction(NamedTuple):
    """A source with its model loaded and its text open."""

    source: LlamaSource
    corpus: Text
    share: Share
    """Documents that rows are made of."""
    rows: int
    """Rows to extract, over all stores; 0 for those of the whole text."""
    tokenizer: Any
    stack: Any
    kinds: RowKinds
    """Which rows are left out."""
    facts: dict[str, Json]
    """What identifies it, for provenance."""
    limits: str
    """Settings to lower if the text is too short."""

    def batches(self, place: int = 0, position: int = 0, contexts: int | None = None) -> Generator[Batch, None, None]:
        """Yield activations from a token of the document in a place on, of so many ``contexts`` at most."""
        documents = self.corpus.documents(place, self.share)
        coming = contexts_of(documents, self.tokenizer, self.source.context_length, position)
        return activations(self.stack, self.source.sites, islice(coming, contexts), self.source.contexts_per_batch)

    def fill(
        self,
        writer: ResumableWriter,
        rows: int | None,
        place: int = 0,
        before: int = 0,
        told: Callable[[int], None] | None = None,
    ) -> int:
        """Write the first ``rows`` rows from ``place`` on, or those that a killed process left to write.

        Parameters
        ----------
        writer
            Of the store.
        rows
            None for all of the text.
        place
            Of the first document.
        before
            Rows of the documents before, in other stores.
        told
            Called with the number of rows in the store after each batch.

        Returns
        -------
        Place of the last document that a context of them touches.

        Raises
        ------
        SourceError
            If the text ends before, or has no rows.
        """
        filling = Filling(writer, rows, place, told)
        if not filling.run(self.batches, self.kinds):
            raise self.too_little(before + writer.rows)
        return filling.last_place

    def too_little(self, rows: int) -> SourceError:
        """Return what to say of a text that ended after ``rows`` rows."""
        return _too_little(self, rows)

    def require_disk(self, folder: Path, rows: int, joined: int) -> None:
        """Refuse ``rows`` rows that do not fit on the disk, with a store of ``joined`` rows beside its parts."""
        needed = (rows + joined) * (2 * len(self.source.sites) * self.stack.config.hidden_size + 12)
        free = shutil.disk_usage(folder).free
        log.info("%.3g GB to write, %.3g GB free", needed / 1e9, free / 1e9)
        if needed > free:
            raise SourceError(
                f"{folder}: the stores and their parts need {needed / 1e9:.3g} GB, but the disk has "
                f"{free / 1e9:.3g} GB free; lower {self.limits}, write elsewhere, or set stream in a pipeline"
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
    """Load a model and open a text to extract ``rows`` rows of a share of its documents; see `prepared`.

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
    opened = open_model(source, model, device or torch.device("cpu"))
    corpus = open_text(text, source.text_options)
    if corpus.whole and not any(islice((document for document in corpus.documents() if document.text), 1, 2)):
        raise SourceError(
            f"{corpus.name}: has fewer than two documents, but training and evaluation take different ones; {SPLIT}"
        )
    return prepared(source, opened, corpus, rows, share)


def open_model(source: LlamaSource, model: str | Path, device: torch.device) -> Model:
    """Open a checkpoint of the Llama family, of which only the blocks that are needed will be loaded to a device.

    Raises
    ------
    SourceError
        If it cannot be read, or contexts are longer than it takes.
    """
    checkpoint = open_checkpoint(model, source.revision)
    if problem := beyond_positions(model_shape(checkpoint.folder), source.context_length):
        raise SourceError(f"{model}: context_length: {problem}")

    def stack(blocks: int) -> Any:
        return load_truncated(checkpoint.folder, blocks, source.dtype).to(device)

    return Model(str(model), load_tokenizer(checkpoint.folder), checkpoint.facts(), stack)


def prepared(
    source: LlamaSource,
    model: Model,
    corpus: Text,
    rows: int,
    share: Share = WHOLE,
    limits: str = PIPELINE_LIMITS,
) -> Extraction:
    """Return an extraction of ``rows`` rows of a share of a text's documents.

    Outliers are measured by the median norms of the text's first contexts, whatever the share: some `MEDIAN_ROWS`
    tokens, position 0 and separators left out.

    Parameters
    ----------
    source
        Settings. The model, the text and the numbers of samples are not read.
    model, corpus
        The model and the text.
    rows
        Rows that are needed at least.
    share
        Documents that they are made of.
    limits
        Settings to lower if the text is too short, for messages.

    Raises
    ------
    SourceError
        If the model has too few blocks, or it can be told already that the text has too few tokens.
    """
    tokenizer = model.tokenizer
    separator, opening = separator_of(tokenizer), opening_of(tokenizer)
    kinds = RowKinds(separator, {}, source.drop)
    ready = Extraction(source, corpus, share, rows, tokenizer, None, kinds, {}, limits)
    if corpus.whole:
        _require_length(ready)
    stack = model.stack(max(site.block for site in source.sites.values()))
    ready = ready._replace(stack=stack)
    first = ready._replace(share=WHOLE).batches(contexts=math.ceil(MEDIAN_ROWS / source.context_length))
    medians = median_norms(first, separator, source.sites)
    if medians is None:
        raise ready.too_little(0)
    largest = {column: source.outlier_norm * median for column, median in medians.items()}
    facts = provenance(
        __file__,
        source=asdict(source),
        **{column: site.describe() for column, site in source.sites.items()},
        references=f"document: {corpus.facts.get('document', AS_GIVEN)}; {REST_OF_REFERENCES}",
        model=model.facts,
        text=corpus.facts,
        separator={"token": tokenizer.convert_ids_to_tokens(separator), "id": separator},
        opening=None if opening is None else tokenizer.convert_ids_to_tokens(opening),
        median_norm=medians,
        largest_norm=largest,
        precision={"forward": source.dtype, "stored": "float16"},
        device=next(stack.parameters()).device.type,
        threads=torch.get_num_threads(),
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


def _require_length(work: Extraction) -> None:
    """Refuse a text that cannot have enough rows, before any model runs."""
    least = _least_contexts(work.source, work.rows)
    contexts = contexts_of(work.corpus.documents(share=work.share), work.tokenizer, work.source.context_length)
    if sum(1 for _ in islice(contexts, least)) < least:
        raise _too_little(work, work.rows)


def _least_contexts(source: LlamaSource, rows: int) -> int:
    """Return the contexts that are needed if nothing but position 0 is dropped."""
    return math.ceil(rows / (source.context_length - ("first_position" in source.drop)))


def _too_little(work: Extraction, found_rows: int) -> SourceError:
    """Return what to say of a text that gave ``found_rows`` of the rows that are asked for, and then ended."""
    name, source, share, rows = work.corpus.name, work.source, work.share, work.rows
    lengths = [len(document.ids) for document in tokenise(work.corpus.documents(share=share), work.tokenizer)]
    found, longest = sum(lengths), max(lengths, default=0)
    if not rows:
        return SourceError(
            f"{name}: has {found} tokens, none of which makes a row; take a longer text, or lower context_length "
            f"({source.context_length})"
        )
    least = _least_contexts(source, rows) * source.context_length
    if share == WHOLE and work.limits == PIPELINE_LIMITS and found >= least and 2 * longest > found:
        return SourceError(
            f"{name}: has {found} tokens, but {longest} of them are one document, and training and evaluation "
            f"take different ones; {SPLIT}"
        )
    needed = math.ceil(max(least, found * rows / max(found_rows, 1), found + 1))
    where = "" if share == WHOLE else f" in the documents of share {share.number} of {share.of}"
    return SourceError(
        f"{name}: has {found} tokens{where}, but {rows} rows need about {needed}; take a longer text, or lower "
        f"{work.limits}"
    )
