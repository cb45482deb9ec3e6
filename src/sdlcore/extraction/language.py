"""Write activations of language models to activation stores.

A text is split into documents, tokenised, and packed into contexts of fixed length, with a separator token between
documents. Each kept token becomes a row. By default, three kinds of rows are dropped and counted: position 0 of every
context (the attention sink), separator tokens, and other rows above a multiple of the median norm. Their norms are tens
to hundreds of times larger than the norms of other rows, so a dictionary would fit them alone.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import torch
from torch import nn

from sdlcore.data.writing import resume_store
from sdlcore.errors import SourceError
from sdlcore.extraction.config import LanguageSource, fitting_length
from sdlcore.extraction.engine import (
    Batch,
    Call,
    Chosen,
    Filling,
    context_calls,
    device_of,
    fill,
    read_contexts,
    token_rows,
)
from sdlcore.extraction.hooks import Point, Stack
from sdlcore.extraction.models import checkpoint_facts, find_checkpoint, load_any, load_tokenizer, precision_of
from sdlcore.extraction.text import WHOLE, Share, opened_text
from sdlcore.extraction.tokens import (
    KEPT,
    KINDS,
    MEDIAN_ROWS,
    RowKinds,
    TokenisedText,
    Tokens,
    median_norms,
    stack_batches,
)
from sdlcore.identity import provenance
from sdlcore.memory import keep_freed_memory
from sdlcore.settings import AsList, FromList, Json, Settings

REFERENCES = ("document", "position", "token")


class Progress(Settings):
    """Progress of filling a store with tokens."""

    first_place: int
    """Place of the document that filling began with."""
    next: Annotated[tuple[int, int], FromList, AsList]
    """Place of the document that the next context begins in, and the number of its tokens to skip."""
    last_place: int
    """Place of the last document in any context so far."""
    contexts: int = 0
    """Number of contexts used so far."""
    rows_by_kind: dict[str, int]
    """Number of tokens of each of `KINDS`."""

    def facts(self) -> dict[str, Json]:
        return {"first_place": self.first_place, "contexts": self.contexts, "rows_by_kind": self.rows_by_kind}


@dataclass(frozen=True)
class ContextReader:
    """A model that reads a text in packed contexts. The other fields are as in `LanguageSource`."""

    model: nn.Module
    text: TokenisedText
    context_length: int
    contexts_per_batch: int
    drop: tuple[str, ...]
    outlier_norm: float
    store_dtype: str = "float16"
    share: Share = WHOLE
    """Documents to read."""

    def batches(self, place: int = 0, position: int = 0) -> Iterator[Tokens]:
        """Yield batches of contexts (B x T), from a token of the document at ``place`` on."""
        contexts = self.text.contexts(self.context_length, place, self.share, position)
        return stack_batches(contexts, self.contexts_per_batch)

    def calls(self, progress: Progress) -> Iterator[Call]:
        """Yield the calls of the model after a store's progress."""
        return context_calls(self.model, self.batches(*progress.next))

    def kinds(self, largest_norm: Mapping[str, float]) -> RowKinds:
        """Return the kinds of rows to leave out, given the largest norm of each site."""
        return RowKinds(self.text.separator, largest_norm, self.drop, self.text.roles is not None)


class TokenStore(NamedTuple):
    """A store to write from a `ContextReader`."""

    points: Mapping[str, Point]
    """Column of the store -> place."""
    kinds: RowKinds
    """Kinds of rows to leave out."""
    facts: dict[str, Json]
    """Provenance."""

    def begin(self, place: int = 0) -> Progress:
        """Return the progress of a store without rows, whose first document is at ``place``."""
        counts = dict.fromkeys(KINDS if self.kinds.by_role else KINDS[:-1], 0)
        return Progress(first_place=place, next=(place, 0), last_place=place - 1, rows_by_kind=counts)

    def choose(self, last: Progress, batch: Batch, max_rows: int | None) -> Chosen:
        """Choose the kept tokens of a batch of contexts."""
        tokens: Tokens = batch.tokens
        kind_N = self.kinds.of(tokens, batch.norms)
        indices = np.flatnonzero(kind_N == KEPT)[:max_rows]
        if max_rows == len(indices):  # tokens after the last row are neither used nor counted
            kind_N = kind_N[: indices[-1] + 1]
        used = math.ceil(len(kind_N) / tokens.token.shape[1])
        counts = np.bincount(kind_N, minlength=len(KINDS)).tolist()
        places = tokens.place[:used][tokens.document[:used] >= 0]
        progress = Progress(
            first_place=last.first_place,
            next=tokens.next,
            last_place=int(places.max(initial=last.last_place)),
            contexts=last.contexts + used,
            rows_by_kind={kind: number + counts[KINDS.index(kind)] for kind, number in last.rows_by_kind.items()},
        )
        return Chosen(progress, indices, {name: getattr(tokens, name).ravel()[indices] for name in REFERENCES})


def token_stores(
    reader: ContextReader, groups: Sequence[Mapping[str, Point]], facts: Sequence[Mapping[str, Json]]
) -> list[TokenStore]:
    """Return the contents of a store for each group of places, with provenance that begins with ``facts``.

    Median norms define outliers. One pass measures them on the first contexts of the text, for any share: about
    `MEDIAN_ROWS` tokens, without position 0 and separators. SourceError if the text does not fill a context.
    """
    keep_freed_memory()
    text = reader.text
    points = {(key, column): point for key, group in enumerate(groups) for column, point in group.items()}
    contexts = islice(text.contexts(reader.context_length), math.ceil(MEDIAN_ROWS / reader.context_length))
    batches = read_contexts(reader.model, points, contexts, reader.contexts_per_batch)
    medians = median_norms(batches, text.separator, points)
    if medians is None:
        raise SourceError(f"{text.name}: too short for a context of {reader.context_length} tokens; lower it")
    token = text.tokenizer.convert_ids_to_tokens
    document = text.text.facts.get("document", "number of the document in the list")
    stores = []
    for key, (group, own) in enumerate(zip(groups, facts, strict=True)):
        norms = {column: medians[key, column] for column in group}
        kinds = reader.kinds({column: reader.outlier_norm * median for column, median in norms.items()})
        more = provenance(
            references=f"document: {document}; position: of the token in its document; token: its id",
            text=text.text.facts,
            tokenizer=text.vocabulary,
            separator={"token": token(text.separator), "id": text.separator},
            opening=None if text.opening is None else token(text.opening),
            median_norm=norms,
            largest_norm=dict(kinds.largest_norm),
            precision={"forward": precision_of(reader.model), "stored": reader.store_dtype},
            device=device_of(reader.model).type,
            threads=torch.get_num_threads(),
        )
        stores.append(TokenStore(group, kinds, {**own, **more}))
    return stores


def write_token_stores(
    reader: ContextReader,
    stores: Sequence[TokenStore],
    files: Sequence[Mapping[str, tuple[str | Path, int]]],
) -> list[int]:
    """Write stores in one pass of the model for each split; return the place of the next document for each store.

    ``files`` has for each store: split (``train`` or ``test``) -> file and number of rows. A split begins with the
    first document that no context of the previous split contains. Outliers are dropped from each store separately, so
    evaluation stores may begin at different documents; then each evaluation store takes a pass. After a kill, each
    store continues from its last commit. SourceError if the text is too short.
    """
    with ExitStack() as opened:
        writers = [
            {
                split: opened.enter_context(resume_store(path, store.facts | {"split": split}, reader.store_dtype))
                for split, (path, _) in splits.items()
            }
            for store, splits in zip(stores, files, strict=True)
        ]
        places = [0] * len(stores)
        for split in files[0]:
            fillings = [
                Filling(writers[key][split], store.points, files[key][split][1], store.begin(places[key]), store.choose)
                for key, store in enumerate(stores)
            ]
            for start in dict.fromkeys(places):
                members = [filling for filling, place in zip(fillings, places, strict=True) if place == start]
                fill(reader.model, members, reader.calls, token_rows, reader.store_dtype)
            for filling in fillings:
                filling.finish(reader.text.name)
            places = [1 + filling.progress.last_place for filling in fillings]
    return places


def open_sources(
    sources: Sequence[LanguageSource],
    model: str | Path,
    text: str | Path,
    share: Share = WHOLE,
    threads: int = 1,
    device: torch.device | None = None,
) -> tuple[ContextReader, list[TokenStore]]:
    """Load a model and open a text, for the sources of a pipeline, which differ only in their sites.

    Blocks behind the deepest site are not kept in memory. ``share`` says which documents to read. The other parameters
    and the errors are those of `write_language_stores`.
    """
    torch.set_num_threads(threads)
    source = sources[0]
    folder = find_checkpoint(model, source.revision)
    stack = Stack.of(load_any(folder, source.dtype, "AutoModel"), source.paths)
    points = [stack.points(one.sites) for one in sources]
    sites = [site for one in sources for site in one.sites.values()]
    if all(site.block for site in sites):  # a module whose path starts at the model may be in any block
        del stack.blocks[max(site.block for site in sites) :]
    stack.model.to(device or torch.device("cpu"))
    positions = getattr(stack.model.config.get_text_config(), "max_position_embeddings", None)
    reader = ContextReader(
        stack.model,
        TokenisedText(opened_text(text, source.text_options), load_tokenizer(folder), source.bos),
        fitting_length(source.context_length, positions),
        source.contexts_per_batch,
        source.drop,
        source.outlier_norm,
        share=share,
    )
    weights = checkpoint_facts(model, folder)
    facts: list[dict[str, Json]] = [
        {"source": one.to_dict(), "model": weights, **{name: site.describe() for name, site in one.sites.items()}}
        for one in sources
    ]
    return reader, token_stores(reader, points, facts)


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
    ``document``, ``position`` (in the document) and ``token``. Documents are read in the order of `opened_text`.
    Evaluation begins with the first document that no training context contains. If anything fails, no file appears. If
    the process is killed, the next call with equal settings continues from the last `engine.COMMIT_BATCHES` batches.
    With the same number of threads, it writes the same stores. A source's stores do not depend on the other sources.

    Parameters
    ----------
    sources
        Settings, which differ only in their sites.
    model
        Folder with a transformers checkpoint and its tokenizer, or name of a model at the hub.
    text
        A text, as for `opened_text`.
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
    reader, contents = open_sources(sources, model, text, WHOLE, threads, device)
    train_rows, test_rows = sources[0].train_samples, sources[0].test_samples
    files = [{"train": (train, train_rows), "test": (test, test_rows)} for train, test in stores]
    write_token_stores(reader, contents, files)


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
    """Write one store of a source that ``parts`` + 1 independent jobs extract; ``number`` counts the jobs from 0.

    Jobs take documents in turn: job i takes documents i, i + ``parts`` + 1 and so on, and packs its own contexts. The
    first ``parts`` jobs write nearly equal parts of the training rows, and the last job writes the evaluation store. So
    no document is in both. `unite` joins the parts. Every job reads a streamed text completely, but tokenises only its
    own documents. The other parameters and the errors are those of `write_language_stores`.
    """
    split, rows = "test", source.test_samples
    if number < parts:
        split = "train"
        rows = (number + 1) * source.train_samples // parts - number * source.train_samples // parts
    reader, (store,) = open_sources([source], model, text, Share(number, parts + 1), threads, device)
    store.facts["share"] = [number, parts + 1]
    write_token_stores(reader, [store], [{split: (path, rows)}])
