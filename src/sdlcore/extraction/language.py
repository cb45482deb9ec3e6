"""Write activations of language models to activation stores.

A text is split into documents, tokenised, and packed into contexts of fixed length, with a separator token between
documents. Each kept token becomes a row. By default, three kinds of rows are dropped and counted: position 0 of every
context (the attention sink), separator tokens, and other rows above a multiple of the median norm. Their norms are tens
to hundreds of times larger than the norms of other rows, so a dictionary would fit them alone.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
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
)
from sdlcore.identity import provenance
from sdlcore.memory import keep_freed_memory
from sdlcore.settings import AsList, FromList, Json, Settings

REFERENCES = ("document", "position", "token")
TOO_SHORT = "give more text (stores share no document), or lower train_samples, test_samples or context_length"


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


class TokenStore(NamedTuple):
    """A store of a text's tokens."""

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


def token_calls(model: nn.Module, text: TokenisedText, progress: Progress) -> Iterator[Call]:
    """Yield the calls of the model after a store's progress."""
    return context_calls(model, text.batches(*progress.next))


def token_stores(
    model: nn.Module,
    text: TokenisedText,
    groups: Sequence[Mapping[str, Point]],
    facts: Sequence[Mapping[str, Json]],
    drop: tuple[str, ...],
    outlier_norm: float,
    store_dtype: str = "float16",
) -> list[TokenStore]:
    """Return the contents of a store for each group of places, with provenance that begins with ``facts``.

    ``drop`` and ``outlier_norm`` are as in `LanguageSource`. Median norms define outliers. One pass measures them on
    the first contexts of the text, for any share: about `MEDIAN_ROWS` tokens, without position 0 and separators.
    SourceError if the text does not fill a context.
    """
    keep_freed_memory()
    points = {(key, column): point for key, group in enumerate(groups) for column, point in group.items()}
    contexts = islice(text.contexts(share=WHOLE), math.ceil(MEDIAN_ROWS / text.context_length))
    batches = read_contexts(model, points, contexts, text.contexts_per_batch)
    medians = median_norms(batches, text.separator, points)
    if medians is None:
        problem = f"too short for a context of {text.context_length} tokens"
        raise SourceError(f"{text.name}: {problem}; give more text, or lower context_length")
    token = text.tokenizer.convert_ids_to_tokens
    document = text.text.facts.get("document", "number of the document in the list")
    stores = []
    for key, (group, own) in enumerate(zip(groups, facts, strict=True)):
        norms = {column: medians[key, column] for column in group}
        largest = {column: outlier_norm * median for column, median in norms.items()}
        kinds = RowKinds(text.separator, largest, drop, text.roles is not None)
        more = provenance(
            references=f"document: {document}; position: of the token in its document; token: its id",
            text=text.text.facts,
            tokenizer=text.vocabulary,
            separator={"token": token(text.separator), "id": text.separator},
            opening=None if text.opening is None else token(text.opening),
            median_norm=norms,
            largest_norm=largest,
            precision={"forward": precision_of(model), "stored": store_dtype},
            device=device_of(model).type,
            threads=torch.get_num_threads(),
        )
        stores.append(TokenStore(group, kinds, {**own, **more}))
    return stores


def write_token_stores(
    model: nn.Module, text: TokenisedText, store: TokenStore, files: Mapping[str, tuple[str | Path, int]]
) -> int:
    """Write the splits of a store, one after the other, and return the place of the next document.

    ``files`` is split (``train`` or ``test``) -> file and number of rows. A split begins with the first document that
    no context of the previous split contains. After a kill, each split continues from its last commit. SourceError if
    the text is too short.
    """
    place = 0
    with ExitStack() as opened:
        writers = {
            split: opened.enter_context(resume_store(path, store.facts | {"split": split}))
            for split, (path, _) in files.items()
        }
        for split, (_, rows) in files.items():
            filling = Filling(writers[split], store.points, rows, store.begin(place), store.choose)
            fill(model, [filling], partial(token_calls, model, text), token_rows, "float16")
            filling.finish(text.name, TOO_SHORT)
            place = 1 + filling.progress.last_place
    return place


def open_source(
    source: LanguageSource,
    model: str | Path,
    text: str | Path,
    share: Share = WHOLE,
    threads: int = 1,
    device: torch.device | None = None,
) -> tuple[nn.Module, TokenisedText, TokenStore]:
    """Load a model and open a text, for a source of a pipeline.

    Blocks behind the deepest site are not kept in memory, unless ``source.paths`` describes the model. ``share`` says
    which documents to read. `write_language_stores` describes the other parameters and the errors.
    """
    torch.set_num_threads(threads)
    folder = find_checkpoint(model, source.revision)
    stack = Stack.of(load_any(folder, source.dtype, "AutoModel"), source.paths)
    points = stack.points(source.sites)
    # a module whose path starts at the model may be in any block, and an unknown model may read later blocks first
    if source.paths is None and all(site.block for site in source.sites.values()):
        del stack.blocks[max(site.block for site in source.sites.values()) :]
    stack.model.to(device or torch.device("cpu"))
    tokenised = TokenisedText(
        opened_text(text, source.text_options),
        load_tokenizer(folder),
        fitting_length(source.context_length, stack.model.config),
        source.contexts_per_batch,
        source.bos,
        share=share,
    )
    facts: dict[str, Json] = {"source": source.to_dict(), "model": checkpoint_facts(model, folder)}
    facts |= {name: site.describe() for name, site in source.sites.items()}
    (store,) = token_stores(stack.model, tokenised, [points], [facts], source.drop, source.outlier_norm)
    return stack.model, tokenised, store


def write_language_stores(
    source: LanguageSource,
    model: str | Path,
    text: str | Path,
    train: str | Path,
    test: str | Path,
    threads: int = 1,
    device: torch.device | None = None,
) -> None:
    """Write a language model's activations on a text to a training and an evaluation store.

    The stores are in float16, and have exactly ``train_samples`` and ``test_samples`` rows. References are
    ``document``, ``position`` (in the document) and ``token``. Documents are read in the order of `opened_text`.
    Evaluation begins with the first document that no training context contains. If anything fails, no file appears. If
    the process is killed, the next call with equal settings continues from the last `engine.COMMIT_BATCHES` batches.
    With the same number of threads, it writes the same stores.

    Parameters
    ----------
    source
        Settings.
    model
        Folder with a transformers checkpoint and its tokenizer, or name of a model at the hub.
    text
        A text, as for `opened_text`.
    train, test
        Stores to write or replace.
    threads
        Number of torch threads, from now on for the whole process.
    device
        Device of the model; None for the CPU.

    Raises
    ------
    SourceError
        If the model or the text cannot be used, or the text has too few tokens.
    """
    files = {"train": (train, source.train_samples), "test": (test, source.test_samples)}
    write_token_stores(*open_source(source, model, text, WHOLE, threads, device), files)


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
    own documents. `write_language_stores` describes the other parameters and the errors.
    """
    split, rows = "test", source.test_samples
    if number < parts:
        split = "train"
        rows = (number + 1) * source.train_samples // parts - number * source.train_samples // parts
    lm, tokenised, store = open_source(source, model, text, Share(number, parts + 1), threads, device)
    store.facts["share"] = [number, parts + 1]
    write_token_stores(lm, tokenised, store, {split: (path, rows)})
