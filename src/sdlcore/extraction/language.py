"""Write activations of language models to activation stores.

A text is split into documents, tokenised, and packed into contexts of fixed length, with a separator token between
documents. Each kept token becomes a row. By default, three kinds of rows are dropped and counted: position 0 of every
context (the attention sink), separator tokens, and other rows above a multiple of the median norm. Their norms are tens
to hundreds of times larger than the norms of other rows, so a dictionary would fit them alone.
"""

import logging
import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from sdlcore.data.writing import ResumableWriter, resume_store
from sdlcore.errors import SourceError
from sdlcore.extraction.architectures import Paths
from sdlcore.extraction.config import LanguageSource, Reading
from sdlcore.extraction.corpus import WHOLE, Share, open_text
from sdlcore.extraction.engine import Batch, Call, Chosen, Filling, fill
from sdlcore.extraction.forward import (
    KEPT,
    KINDS,
    MEDIAN_ROWS,
    RowKinds,
    context_calls,
    median_norms,
    read_contexts,
    stack_batches,
    token_rows,
)
from sdlcore.extraction.hooks import Point
from sdlcore.extraction.models import load_stack, load_tokenizer, open_checkpoint
from sdlcore.extraction.shape import model_problems, model_shape
from sdlcore.extraction.tokens import TokenisedText, Tokens
from sdlcore.identity import provenance
from sdlcore.memory import keep_freed_memory
from sdlcore.settings import Json, Settings

log = logging.getLogger(__name__)

REFERENCES = ("document", "position", "token")
PIPELINE_LIMITS = "train_samples or test_samples"
NEW_SETTINGS = ("target_site", "paths", "bos")


class Progress(Settings):
    """Progress of filling a store with tokens."""

    first_place: int
    """Place of the document that filling began with."""
    place: int
    """Place of the document that the next context begins in."""
    position: int
    """Position of the next context's first token in that document."""
    last_place: int
    """Place of the last document in any context so far."""
    contexts: int
    """Number of contexts used so far."""
    rows_by_kind: dict[str, int]
    """Number of tokens of each of `KINDS`."""


class TokenRows(Filling):
    """Fill a store with the kept tokens of contexts, from the document at ``place`` on."""

    progress: Progress

    def __init__(self, writer: ResumableWriter, most: int | None, kinds: RowKinds, place: int) -> None:
        counts = dict.fromkeys(KINDS if kinds.by_role else KINDS[:-1], 0)
        begin = Progress(
            first_place=place, place=place, position=0, last_place=place - 1, contexts=0, rows_by_kind=counts
        )
        super().__init__(writer, begin, most)
        self._kinds = kinds

    @property
    def next(self) -> tuple[int, int]:
        return self.progress.place, self.progress.position

    def choose(self, batch: Batch, most: int | None) -> Chosen:
        tokens: Tokens = batch.tokens
        kind_N = self._kinds.of(tokens, batch.norms)
        indices = np.flatnonzero(kind_N == KEPT)[:most]
        if most == len(indices):  # tokens after the last row are neither used nor counted
            kind_N = kind_N[: indices[-1] + 1]
        used = math.ceil(len(kind_N) / tokens.token.shape[1])
        counts = np.bincount(kind_N, minlength=len(KINDS)).tolist()
        last, places = self.progress, tokens.place[:used][tokens.document[:used] >= 0]
        place, position = tokens.next
        self.progress = Progress(
            first_place=last.first_place,
            place=place,
            position=position,
            last_place=int(places.max(initial=last.last_place)),
            contexts=last.contexts + used,
            rows_by_kind={kind: number + counts[KINDS.index(kind)] for kind, number in last.rows_by_kind.items()},
        )
        return Chosen(indices, {name: getattr(tokens, name).ravel()[indices] for name in REFERENCES})

    def facts(self) -> dict[str, Json]:
        done = self.progress
        return {"first_place": done.first_place, "contexts": done.contexts, "rows_by_kind": done.rows_by_kind}


class Extraction(NamedTuple):
    """A model, the places that a store takes, and the text."""

    model: nn.Module
    points: Mapping[str, Point]
    """Column of the store -> place."""
    reading: Reading
    text: TokenisedText
    share: Share
    """Documents to read."""
    kinds: RowKinds
    """Kinds of rows to leave out."""
    medians: Mapping[str, float]
    """Median norm of the activations in each column."""
    facts: dict[str, Json]
    """Provenance of the store."""
    limits: str = PIPELINE_LIMITS
    """Settings to lower if the text is too short."""

    def batches(self, place: int = 0, position: int = 0) -> Generator[Batch, None, None]:
        """Yield the activations of all contexts, from a token of the document at ``place`` on."""
        contexts = self.contexts(place, position)
        dtype = getattr(torch, self.reading.store_dtype)
        return read_contexts(self.model, self.points, contexts, self.reading.contexts_per_batch, dtype)

    def contexts(self, place: int = 0, position: int = 0) -> Iterator[Tokens]:
        """Yield contexts, from a token of the document at ``place`` on."""
        return self.text.contexts(self.reading.context_length, place, self.share, position)

    def too_little(self, rows: int) -> SourceError:
        """Return the error for a text that gives only so many rows."""
        return SourceError(
            f"{self.text.name}: the text ends after {rows} rows. Take a longer text or more documents (stores share no "
            f"document), or lower {self.limits} or context_length"
        )


def prepare(
    model: nn.Module,
    groups: Sequence[Mapping[str, Point]],
    text: TokenisedText,
    reading: Reading,
    share: Share = WHOLE,
    limits: str = PIPELINE_LIMITS,
) -> list[Extraction]:
    """Return an extraction for each group of places, which is the content of a store.

    Median norms define outliers. One pass measures them on the first contexts of the text, for any share: about
    `MEDIAN_ROWS` tokens, without position 0 and separators.

    Raises
    ------
    SourceError
        If the text does not fill a context.
    """
    keep_freed_memory()
    flat = {(key, column): point for key, group in enumerate(groups) for column, point in group.items()}
    kinds = RowKinds(text.separator, {}, reading.drop, text.roles is not None)
    works = [Extraction(model, group, reading, text, share, kinds, {}, {}, limits) for group in groups]
    contexts = islice(text.contexts(reading.context_length), math.ceil(MEDIAN_ROWS / reading.context_length))
    first = read_contexts(model, flat, contexts, reading.contexts_per_batch)
    medians = median_norms(first, text.separator, flat)
    if medians is None:
        raise works[0].too_little(0)
    prepared = []
    for key, work in enumerate(works):
        its = {column: medians[key, column] for column in work.points}
        largest = {column: reading.outlier_norm * median for column, median in its.items()}
        prepared.append(work._replace(kinds=kinds._replace(largest_norm=largest), medians=its))
    return prepared


def facts_of(work: Extraction, document: Json, **more: Json) -> dict[str, Json]:
    """Return the provenance of an extraction: ``more``, and what text, tokenizer and model say."""
    text, reading = work.text, work.reading
    token = text.tokenizer.convert_ids_to_tokens
    return provenance(
        references=f"document: {document}; position: of the token in its document; token: its id",
        text=text.text.facts,
        tokenizer=text.vocabulary,
        separator={"token": token(text.separator), "id": text.separator},
        opening=None if text.opening is None else token(text.opening),
        median_norm=dict(work.medians),
        largest_norm=dict(work.kinds.largest_norm),
        precision={"forward": reading.dtype, "stored": reading.store_dtype},
        device=next(work.model.parameters()).device.type,
        threads=torch.get_num_threads(),
        **more,
    )


Stores = Mapping[str, tuple[str | Path, int | None]]
"""Split (``train`` or ``test``) -> file and number of rows, None for all remaining rows. A store begins with the first
document that no context of the previous store contains."""


def write_all(works: Sequence[Extraction], stores: Sequence[Stores], show: Callable[[int], None] | None = None) -> None:
    """Write the stores of several extractions, in one pass of their model for each split.

    After a kill, each store continues from its last commit. Outliers are dropped from each store separately, so
    evaluation stores may begin at different documents; then each evaluation store takes a pass.

    Parameters
    ----------
    works
        The extractions, which differ only in their places.
    stores
        The stores of each extraction.
    show
        Called with the number of rows in the first store after each batch.

    Raises
    ------
    SourceError
        If the text is too short.
    """
    with ExitStack() as opened:
        writers = [
            {
                split: opened.enter_context(
                    resume_store(path, work.facts | {"split": split}, dtype=work.reading.store_dtype)
                )
                for split, (path, _) in its.items()
            }
            for work, its in zip(works, stores, strict=True)
        ]
        places = [0] * len(works)
        for split in stores[0]:
            fillings = [
                TokenRows(theirs[split], its[split][1], work.kinds, place)
                for work, its, theirs, place in zip(works, stores, writers, places, strict=True)
            ]
            fill_stores(works, fillings, show)
            places = [1 + filling.progress.last_place for filling in fillings]


def fill_stores(
    works: Sequence[Extraction], fillings: Sequence[TokenRows], show: Callable[[int], None] | None = None
) -> None:
    """Fill stores; stores that begin at the same document share a pass. It raises the errors of `write_all`."""
    work = works[0]

    def calls(at: tuple[int, int]) -> Iterator[Call]:
        return context_calls(work.model, stack_batches(work.contexts(*at), work.reading.contexts_per_batch))

    def shown(_: Tokens) -> None:
        if show is not None:
            show(fillings[0].rows)

    for start in dict.fromkeys(filling.progress.first_place for filling in fillings):
        members = [number for number, filling in enumerate(fillings) if filling.progress.first_place == start]
        groups, theirs = [works[number].points for number in members], [fillings[number] for number in members]
        fill(work.model, groups, theirs, calls, token_rows, work.reading.store_dtype, shown)
    for filling in fillings:
        if not filling.finish():
            raise work.too_little(filling.rows)


def prepare_sources(
    sources: Sequence[LanguageSource],
    model: str | Path,
    text: str | Path,
    share: Share = WHOLE,
    threads: int = 1,
    device: torch.device | None = None,
) -> list[Extraction]:
    """Load a model and open a text, for the sources of a pipeline, which differ only in their sites.

    Parameters
    ----------
    sources
        Settings. For most architectures, only the necessary blocks are loaded.
    model
        Folder with a transformers checkpoint and its tokenizer, or name of a model at the hub.
    text
        A text, as for `open_text`.
    share
        The documents to read.
    threads
        Number of torch threads, from now on for the whole process.
    device
        Device of the model; None for the CPU.

    Raises
    ------
    SourceError
        If the model or the text cannot be used, or contexts are longer than the model allows.
    """
    torch.set_num_threads(threads)
    source = sources[0]
    checkpoint = open_checkpoint(model, source.revision, source.paths)
    for one in sources:
        for key, problem in model_problems(model_shape(checkpoint.folder), one):
            raise SourceError(f"{checkpoint.name}: {key}: {problem}")
    sites = [site for one in sources for site in one.sites.values()]
    # a module whose path starts at the model may be in any block
    blocks = None if any(not site.block for site in sites) else max(site.block for site in sites)
    stack = load_stack(checkpoint.folder, blocks, source.dtype, source.paths)
    stack.model.to(device or torch.device("cpu"))
    tokenised = TokenisedText(open_text(text, source.text_options), load_tokenizer(checkpoint.folder), source.bos)
    groups = [{column: stack.point(site) for column, site in one.sites.items()} for one in sources]
    works = prepare(stack.model, groups, tokenised, source.reading, share)
    facts, paths = checkpoint.facts(), stack.paths
    return [work._replace(facts=_facts(work, one, paths, facts)) for work, one in zip(works, sources, strict=True)]


def _facts(work: Extraction, source: LanguageSource, paths: Paths, model: dict[str, Json]) -> dict[str, Json]:
    # unset new settings are left out, so that old stores match
    settings = {
        name: value for name, value in source.to_dict().items() if value is not None or name not in NEW_SETTINGS
    }
    sites: dict[str, Json] = {column: site.describe(paths) for column, site in source.sites.items()}
    return facts_of(work, work.text.text.facts["document"], source=settings, model=model, **sites)


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
    is killed, the next call with equal settings continues from the last `engine.COMMIT_BATCHES` batches. With the same
    number of threads, it writes the same stores. A source's stores do not depend on the other sources.

    Parameters
    ----------
    sources, model, text, threads, device
        As for `prepare_sources`.
    stores
        Training and evaluation store of each source, to write or replace.

    Raises
    ------
    SourceError
        If the model or the text cannot be used, or the text has too few tokens.
    """
    works = prepare_sources(sources, model, text, WHOLE, threads, device)
    rows = {"train": sources[0].train_samples, "test": sources[0].test_samples}
    write_all(works, [{"train": (train, rows["train"]), "test": (test, rows["test"])} for train, test in stores])


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
    (work,) = prepare_sources([source], model, text, share, threads, device)
    with resume_store(path, work.facts | {"split": split, "share": list(share)}, dtype="float16") as writer:
        fill_stores([work], [TokenRows(writer, rows, work.kinds, 0)])
