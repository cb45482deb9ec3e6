"""Prepare extractions: load the model, open the text, and measure the norms that define outliers."""

import logging
import math
import shutil
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch

from sdlcore.errors import SourceError
from sdlcore.extraction.config import LanguageSource, Site
from sdlcore.extraction.corpus import WHOLE, Share, Text, open_text
from sdlcore.extraction.forward import MEDIAN_ROWS, Batch, RowKinds, activations, median_norms
from sdlcore.extraction.grouping import in_one, part_of
from sdlcore.extraction.hooks import Stack
from sdlcore.extraction.models import Checkpoint, load_stack, load_tokenizer, open_checkpoint
from sdlcore.extraction.shape import model_problems
from sdlcore.extraction.tokens import TokenisedText, Tokens
from sdlcore.identity import provenance
from sdlcore.memory import keep_freed_memory
from sdlcore.settings import Json

log = logging.getLogger(__name__)

PIPELINE_LIMITS = "train_samples or test_samples"
AS_GIVEN = "number of the document in the list"
REST_OF_REFERENCES = "position: of the token in its document; token: its id"
NEW_SETTINGS = ("target_site", "paths", "bos")
SPLIT = "split the text into more documents (a .txt file at blank lines, others by entries, lines or rows)"


class Model(NamedTuple):
    """A language model for extraction."""

    name: str
    """Name of the model, for messages."""
    tokenizer: Any
    facts: dict[str, Json]
    """Provenance of the model."""
    stack: Callable[[int | None], Stack]
    """Function that loads the model with at least this number of blocks; None for all."""


class Extraction(NamedTuple):
    """A source with its model loaded and its text opened."""

    source: LanguageSource
    text: TokenisedText
    share: Share
    """Documents that this extraction reads."""
    rows: int
    """Number of rows in all stores; 0 for the whole text."""
    stack: Any
    """The loaded model."""
    widths: dict[str, int]
    """Dimension of each column's activations."""
    kinds: RowKinds
    """Kinds of rows to leave out."""
    facts: dict[str, Json]
    """Provenance of the extraction."""
    limits: str
    """Settings to lower if the text is too short."""

    def batches(
        self,
        place: int = 0,
        position: int = 0,
        contexts: int | None = None,
        sites: Mapping[str, Site] | None = None,
    ) -> Generator[Batch, None, None]:
        """Yield activations of at most ``contexts`` contexts, from a token of the document at ``place`` on.

        ``sites`` replaces the sites of the source.
        """
        coming = islice(self.contexts(place, position), contexts)
        return activations(self.stack, sites or self.source.sites, coming, self.source.contexts_per_batch)

    def contexts(self, place: int = 0, position: int = 0) -> Iterator[Tokens]:
        """Yield contexts, from a token of the document at ``place`` on."""
        return self.text.contexts(self.source.context_length, place, self.share, position)

    def bytes_of_row(self) -> int:
        """Return the size of a row on the disk: activations in float16, and three references."""
        return 2 * sum(self.widths.values()) + 12

    def require_disk(self, folder: Path, needed: int) -> None:
        """Raise an error if stores need more bytes than the disk has free."""
        free = shutil.disk_usage(folder).free
        log.info("%.3g GB to write, %.3g GB free", needed / 1e9, free / 1e9)
        if needed > free:
            raise SourceError(
                f"{folder}: the stores and their parts need {needed / 1e9:.3g} GB, but the disk has "
                f"{free / 1e9:.3g} GB free; lower {self.limits}, write elsewhere, or set stream in a pipeline"
            )

    def require_length(self) -> None:
        """Raise an error if the text is known to be too short, before the model runs."""
        least = self._least_contexts()
        if sum(1 for _ in islice(self.contexts(), least)) < least:
            raise self.too_little(self.rows)

    def too_little(self, found_rows: int) -> SourceError:
        """Return the error for a text that provides only ``found_rows`` rows."""
        name, source, share, rows = self.text.name, self.source, self.share, self.rows
        lengths = Counter[int]()
        for document in self.text.documents(share=share):
            lengths[document.place] += len(document.ids)
        tokens, longest = lengths.total(), max(lengths.values(), default=0)
        if not rows:
            return SourceError(
                f"{name}: has {tokens} tokens, but no token becomes a row; use a longer text, or lower context_length "
                f"({source.context_length})"
            )
        least = self._least_contexts() * source.context_length
        if share == WHOLE and self.limits == PIPELINE_LIMITS and tokens >= least and 2 * longest > tokens:
            return SourceError(
                f"{name}: has {tokens} tokens, but {longest} of them are one document, and training and evaluation "
                f"take different ones; {SPLIT}"
            )
        needed = math.ceil(max(least, tokens * rows / max(found_rows, 1), tokens + 1))
        where = "" if share == WHOLE else f" in the documents of share {share.number} of {share.of}"
        return SourceError(
            f"{name}: has {tokens} tokens{where}, but {rows} rows need about {needed}; take a longer text, or lower "
            f"{self.limits}"
        )

    def _least_contexts(self) -> int:
        """Return the smallest possible number of contexts: if only the rows at position 0 are dropped."""
        return math.ceil(self.rows / (self.source.context_length - ("first_position" in self.source.drop)))


def prepare(
    sources: Sequence[LanguageSource],
    model: str | Path,
    text: str | Path,
    rows: int,
    share: Share = WHOLE,
    threads: int = 1,
    device: torch.device | None = None,
) -> list[Extraction]:
    """Load a model and open a text, to extract ``rows`` rows from a share of its documents for each of several sources.

    Parameters
    ----------
    sources, model, text, threads, device
        As for `extraction.write_language_stores`.
    rows
        Smallest number of rows needed.
    share
        The documents to read.

    Raises
    ------
    SourceError
        If the model or the text cannot be used, contexts are longer than the model allows, or the text is known to have
        too few tokens.
    """
    torch.set_num_threads(threads)
    where = device or torch.device("cpu")
    opened = open_model(sources, open_checkpoint(model, sources[0].revision, sources[0].paths), where)
    corpus = open_text(text, sources[0].text_options)
    if corpus.whole and not any(islice((document for document in corpus.documents() if document.text), 1, 2)):
        raise SourceError(
            f"{corpus.name}: has fewer than two documents, but training and evaluation take different ones; {SPLIT}"
        )
    return prepared_together(sources, opened, corpus, rows, share)


def open_model(sources: Sequence[LanguageSource], checkpoint: Checkpoint, device: torch.device) -> Model:
    """Open the tokenizer of a checkpoint, for sources that differ only in their sites. The model is loaded later.

    For most architectures, only the necessary blocks will be loaded to the device.

    Raises
    ------
    SourceError
        If the tokenizer cannot be read, the model lacks a site, or contexts are longer than the model allows.
    """
    source = sources[0]
    for one in sources:
        for key, problem in model_problems(checkpoint.folder, one):
            raise SourceError(f"{checkpoint.name}: {key}: {problem}")

    def stack(blocks: int | None) -> Stack:
        stack = load_stack(checkpoint.folder, blocks, source.dtype, source.paths)
        stack.model.to(device)
        return stack

    return Model(checkpoint.name, load_tokenizer(checkpoint.folder), checkpoint.facts(), stack)


def prepared_together(
    sources: Sequence[LanguageSource],
    model: Model,
    corpus: Text,
    rows: int,
    share: Share = WHOLE,
    limits: str = PIPELINE_LIMITS,
) -> list[Extraction]:
    """Return extractions of ``rows`` rows from a share of a text's documents, with one loaded model for all.

    Median norms define outliers. They are measured on the first contexts of the text, for any share: about
    `MEDIAN_ROWS` tokens, without position 0 and separators.

    Parameters
    ----------
    sources
        Settings, which differ only in their sites. Their model, text and numbers of samples are ignored.
    model, corpus
        The model and the text.
    rows
        Smallest number of rows needed.
    share
        The documents to read.
    limits
        Settings to lower if the text is too short, for messages.

    Raises
    ------
    SourceError
        If the model lacks a site, or the text is known to have too few tokens.
    """
    source = sources[0]
    tokenised = TokenisedText(corpus, model.tokenizer, source.bos)
    kinds = RowKinds(tokenised.separator, {}, source.drop)
    ready = Extraction(source, tokenised, share, rows, None, {}, kinds, {}, limits)
    if corpus.whole:
        ready.require_length()
    groups = dict(enumerate(one.sites for one in sources))
    sites = in_one(groups)
    # a module whose path starts at the model may be in any block
    needed = [site.block or None for site in sites.values()]
    keep_freed_memory()
    stack = model.stack(None if None in needed else max(block for block in needed if block is not None))
    for site in sites.values():
        stack.require(site)
    ready = ready._replace(stack=stack)
    contexts = math.ceil(MEDIAN_ROWS / source.context_length)
    widths: dict[str, int] = {}
    first = ready._replace(share=WHOLE).batches(contexts=contexts, sites=sites)
    medians = median_norms(_noting(first, widths), tokenised.separator, sites)
    if medians is None:
        raise ready.too_little(0)
    return [
        ready._replace(
            source=one,
            kinds=kinds._replace(largest_norm={name: one.outlier_norm * norm for name, norm in norms.items()}),
            facts=_facts(ready._replace(source=one), model, norms),
            widths=part_of(widths, key, one.sites),
        )
        for key, one in enumerate(sources)
        for norms in [part_of(medians, key, one.sites)]
    ]


def _facts(work: Extraction, model: Model, medians: Mapping[str, float]) -> dict[str, Json]:
    """Return the provenance of an extraction."""
    source, text = work.source, work.text
    token = text.tokenizer.convert_ids_to_tokens
    return provenance(
        source=settings_of(source),
        **{column: site.describe(work.stack.paths) for column, site in source.sites.items()},
        references=f"document: {text.text.facts.get('document', AS_GIVEN)}; {REST_OF_REFERENCES}",
        model=model.facts,
        text=text.text.facts,
        tokenizer=text.vocabulary,
        separator={"token": token(text.separator), "id": text.separator},
        opening=None if text.opening is None else token(text.opening),
        median_norm=dict(medians),
        largest_norm={column: source.outlier_norm * median for column, median in medians.items()},
        precision={"forward": source.dtype, "stored": "float16"},
        device=work.stack.device.type,
        threads=torch.get_num_threads(),
    )


def settings_of(source: LanguageSource) -> dict[str, Json]:
    """Return the settings of a source for provenance. Unset `NEW_SETTINGS` are left out, so that old stores match."""
    return {name: value for name, value in source.to_dict().items() if value is not None or name not in NEW_SETTINGS}


def _noting(batches: Iterable[Batch], widths: dict[str, int]) -> Iterator[Batch]:
    """Yield batches unchanged, and record the width of each column."""
    for batch in batches:
        widths.update({name: values.shape[1] for name, values in batch.values.items()})
        yield batch
