"""Prepare extractions: load the model, open the text, and measure which rows are outliers."""

import logging
import math
import shutil
from collections.abc import Callable, Generator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch

from sdlcore.data.resumable import ResumableWriter
from sdlcore.errors import SourceError
from sdlcore.memory import keep_freed_memory
from sdlcore.settings import Json
from sdlcore.sources.language.checkpoints import load_tokenizer, load_truncated, open_checkpoint
from sdlcore.sources.language.corpus import WHOLE, Share, Text, open_text
from sdlcore.sources.language.filling import Filling
from sdlcore.sources.language.forward import MEDIAN_ROWS, Batch, RowKinds, activations, median_norms
from sdlcore.sources.language.settings import LanguageSource
from sdlcore.sources.language.shape import beyond_positions, model_shape
from sdlcore.sources.language.tokens import contexts_of, opening_of, separator_of, tokenise
from sdlcore.storage.files import provenance

log = logging.getLogger(__name__)

PIPELINE_LIMITS = "train_samples or test_samples"
AS_GIVEN = "number of the document in the list"
REST_OF_REFERENCES = "position: of the token in its document; token: its id"
SCRIPT = Path(__file__).with_name("extraction.py")
"""The module that writes stores. Its code, and all that it imports, identifies them."""
SPLIT = "split the text into more documents (a .txt file at blank lines, others by entries, lines or rows)"


class Model(NamedTuple):
    """A language model to extract from."""

    name: str
    """For messages."""
    tokenizer: Any
    facts: dict[str, Json]
    """What identifies it, for provenance."""
    stack: Callable[[int], Any]
    """Returns the first blocks, as many as its argument, without the unembedding."""


class Extraction(NamedTuple):
    """A source with its model loaded and its text open."""

    source: LanguageSource
    corpus: Text
    share: Share
    """Documents that rows are made of."""
    rows: int
    """Rows to extract, over all stores; 0 for the whole text."""
    tokenizer: Any
    stack: Any
    kinds: RowKinds
    """Which rows are left out."""
    facts: dict[str, Json]
    """What identifies it, for provenance."""
    limits: str
    """Settings to lower if the text is too short."""

    def batches(self, place: int = 0, position: int = 0, contexts: int | None = None) -> Generator[Batch, None, None]:
        """Yield activations of at most ``contexts`` contexts, from a token of the document at ``place`` on."""
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
        """Write the first ``rows`` rows from ``place`` on; a store that a killed process began is completed.

        Parameters
        ----------
        writer
            Of the store.
        rows
            Number of rows; None for the whole text.
        place
            Place of the first document in the text.
        before
            Number of rows that other stores took from documents before ``place``.
        told
            Called with the number of rows in the store after each batch.

        Returns
        -------
        Place of the last document that a context of these rows touches.

        Raises
        ------
        SourceError
            If the text ends too early, or gives no rows.
        """
        filling = Filling(writer, rows, place, told)
        if not filling.run(self.batches, self.kinds):
            raise self.too_little(before + writer.rows)
        return filling.last_place

    def require_disk(self, folder: Path, rows: int, joined: int) -> None:
        """Refuse ``rows`` rows, and a joined copy of ``joined`` of them, that do not fit on the disk."""
        needed = (rows + joined) * (2 * len(self.source.sites) * self.stack.config.hidden_size + 12)
        free = shutil.disk_usage(folder).free
        log.info("%.3g GB to write, %.3g GB free", needed / 1e9, free / 1e9)
        if needed > free:
            raise SourceError(
                f"{folder}: the stores and their parts need {needed / 1e9:.3g} GB, but the disk has "
                f"{free / 1e9:.3g} GB free; lower {self.limits}, write elsewhere, or set stream in a pipeline"
            )

    def require_length(self) -> None:
        """Refuse a text that cannot have enough rows, before any model runs."""
        least = self._least_contexts()
        contexts = contexts_of(self.corpus.documents(share=self.share), self.tokenizer, self.source.context_length)
        if sum(1 for _ in islice(contexts, least)) < least:
            raise self.too_little(self.rows)

    def too_little(self, found_rows: int) -> SourceError:
        """Return the error for a text that ended after ``found_rows`` rows."""
        name, source, share, rows = self.corpus.name, self.source, self.share, self.rows
        lengths = [len(document.ids) for document in tokenise(self.corpus.documents(share=share), self.tokenizer)]
        found, longest = sum(lengths), max(lengths, default=0)
        if not rows:
            return SourceError(
                f"{name}: has {found} tokens, none of which makes a row; take a longer text, or lower context_length "
                f"({source.context_length})"
            )
        least = self._least_contexts() * source.context_length
        if share == WHOLE and self.limits == PIPELINE_LIMITS and found >= least and 2 * longest > found:
            return SourceError(
                f"{name}: has {found} tokens, but {longest} of them are one document, and training and evaluation "
                f"take different ones; {SPLIT}"
            )
        needed = math.ceil(max(least, found * rows / max(found_rows, 1), found + 1))
        where = "" if share == WHOLE else f" in the documents of share {share.number} of {share.of}"
        return SourceError(
            f"{name}: has {found} tokens{where}, but {rows} rows need about {needed}; take a longer text, or lower "
            f"{self.limits}"
        )

    def _least_contexts(self) -> int:
        """Return the number of contexts that are needed if nothing but position 0 is dropped."""
        return math.ceil(self.rows / (self.source.context_length - ("first_position" in self.source.drop)))


def prepare(
    source: LanguageSource,
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
        As for `extraction.extract`.
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


def open_model(source: LanguageSource, model: str | Path, device: torch.device) -> Model:
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
    source: LanguageSource,
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
        ready.require_length()
    stack = model.stack(max(site.block for site in source.sites.values()))
    ready = ready._replace(stack=stack)
    first = ready._replace(share=WHOLE).batches(contexts=math.ceil(MEDIAN_ROWS / source.context_length))
    medians = median_norms(first, separator, source.sites)
    if medians is None:
        raise ready.too_little(0)
    largest = {column: source.outlier_norm * median for column, median in medians.items()}
    facts = provenance(
        SCRIPT,
        source=source.to_dict(),
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
