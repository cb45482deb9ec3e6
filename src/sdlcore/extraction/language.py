"""Write activations of language models to activation stores.

A text is split into documents, tokenised, and packed into contexts of fixed length, with a separator token between
documents. Each kept token becomes a row. By default, three kinds of rows are dropped and counted: position 0 of every
context (the attention sink), separator tokens, and other rows above a multiple of the median norm. Their norms are tens
to hundreds of times larger than the norms of other rows, so a dictionary would fit them alone.
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from torch import nn

from sdlcore.errors import SourceError
from sdlcore.extraction.config import LanguageSource, fitting_length
from sdlcore.extraction.engine import ActivationBatch, context_calls, device_of, median_norms, token_rows
from sdlcore.extraction.filling import Chosen, Inputs, StorePlan, fill_stores
from sdlcore.extraction.hooks import Point, Stack
from sdlcore.extraction.models import checkpoint_facts, find_checkpoint, load_any, load_tokenizer
from sdlcore.extraction.text import WHOLE, DocumentShare, opened_text
from sdlcore.extraction.tokens import KEPT, KINDS, RowKinds, TokenisedText, Tokens
from sdlcore.identity import provenance
from sdlcore.memory import keep_freed_memory
from sdlcore.settings import AsList, FromList, Json, Settings

REFERENCES = ("document", "position", "token")
TOO_SHORT = (
    "give more text (stores share no document), or lower context_length or the number of rows (max_tokens; in a "
    "pipeline train_samples and test_samples)"
)


class TokenProgress(Settings):
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


def text_inputs(model: nn.Module, text: TokenisedText) -> Inputs:
    """Return a text, packed into contexts, as the inputs of a model."""
    return Inputs(text.name, lambda last: context_calls(model, text.batches(*last.next)), token_rows, TOO_SHORT)


def text_plans(
    model: nn.Module,
    text: TokenisedText,
    drop: tuple[str, ...],
    outlier_norm: float,
    groups: Sequence[Mapping[str, Point]],
) -> list[StorePlan]:
    """Return the plan of a store for each group of places (column -> place): the kept tokens of a text.

    ``drop`` and ``outlier_norm`` are as in `LanguageSource`. Median norms define outliers. One pass measures them on
    the first contexts of the text, for any share: about `MEDIAN_ROWS` tokens, without position 0 and separators.
    SourceError if the text does not fill a context.
    """
    keep_freed_memory()
    points = {(key, column): point for key, group in enumerate(groups) for column, point in group.items()}
    medians = median_norms(model, text, points)
    if medians is None:
        problem = f"too short for a context of {text.context_length} tokens"
        raise SourceError(f"{text.name}: {problem}; give more text, or lower context_length")
    token = text.tokenizer.convert_ids_to_tokens
    document = text.text.facts.get("document", "number of the document in the list")
    plans = []
    for key, group in enumerate(groups):
        norms = {column: medians[key, column] for column in group}
        largest = {column: outlier_norm * median for column, median in norms.items()}
        kinds = RowKinds(text.separator, largest, drop, text.roles is not None)
        facts: dict[str, Json] = {
            "references": f"document: {document}; position: of the token in its document; token: its id",
            "text": text.text.facts,
            "tokenizer": text.vocabulary,
            "separator": {"token": token(text.separator), "id": text.separator},
            "opening": None if text.opening is None else token(text.opening),
            "median_norm": norms,
            "largest_norm": largest,
        }
        counts = dict.fromkeys(KINDS if kinds.by_role else KINDS[:-1], 0)
        begin = TokenProgress(first_place=0, next=(0, 0), last_place=-1, rows_by_kind=counts)
        plans.append(StorePlan(group, facts, partial(_choose_tokens, kinds), begin))
    return plans


def _choose_tokens(kinds: RowKinds, last: TokenProgress, batch: ActivationBatch, max_rows: int | None) -> Chosen:
    """Choose the kept tokens of a batch of contexts."""
    tokens: Tokens = batch.origin
    kind_N = kinds.of(tokens, batch.norms)
    indices = np.flatnonzero(kind_N == KEPT)[:max_rows]
    if max_rows == len(indices):  # tokens after the last row are neither used nor counted
        kind_N = kind_N[: indices[-1] + 1]
    used = math.ceil(len(kind_N) / tokens.token.shape[1])
    counts = np.bincount(kind_N, minlength=len(KINDS)).tolist()
    places = tokens.place[:used][tokens.document[:used] >= 0]
    progress = last.changed(
        next=tokens.next,
        last_place=int(places.max(initial=last.last_place)),
        contexts=last.contexts + used,
        rows_by_kind={kind: number + counts[KINDS.index(kind)] for kind, number in last.rows_by_kind.items()},
    )
    return Chosen(progress, indices, {name: getattr(tokens, name).ravel()[indices] for name in REFERENCES})


def open_source(
    source: LanguageSource,
    model: str | Path,
    text: str | Path,
    share: DocumentShare = WHOLE,
    device: torch.device | None = None,
) -> tuple[nn.Module, TokenisedText, StorePlan]:
    """Load the model of a pipeline's source, open the documents of its text that ``share`` names, and measure norms.

    Blocks behind the deepest site are not kept in memory, unless ``source.paths`` describes the model.
    `write_language_stores` describes the other parameters and the errors.
    """
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
    (plan,) = text_plans(stack.model, tokenised, source.drop, source.outlier_norm, [points])
    facts = provenance(
        source=source.to_dict(),
        model=checkpoint_facts(model, folder),
        **{name: site.describe() for name, site in source.sites.items()},
        **plan.facts,
        precision={"forward": source.dtype, "stored": "float16"},
        device=device_of(stack.model).type,
        threads=torch.get_num_threads(),
    )
    return stack.model, tokenised, plan._replace(facts=facts)


def write_splits(
    model: nn.Module, text: TokenisedText, plan: StorePlan, stores: Mapping[str, tuple[str | Path, int]]
) -> int:
    """Write the splits of a source, one after the other, and return the place of the next document.

    ``stores`` is split (``train`` or ``test``) -> file and number of rows. A split begins with the first document that
    no context of the previous split contains. After a kill, each split continues from its last commit. SourceError if
    the text is too short.
    """
    inputs = text_inputs(model, text)
    place = 0
    with ExitStack() as stack:
        for split, (path, rows) in stores.items():
            begin = plan.begin.changed(first_place=place, next=(place, 0), last_place=place - 1)
            split_plan = plan._replace(facts={**plan.facts, "split": split}, begin=begin)
            (progress,) = fill_stores(stack, model, inputs, {path: split_plan}, rows)
            place = 1 + progress.last_place
    return place


def write_language_stores(
    source: LanguageSource,
    model: str | Path,
    text: str | Path,
    stores: Mapping[str, str | Path],
    part: tuple[int, int] | None = None,
    device: torch.device | None = None,
) -> None:
    """Write a language model's activations on a text to a training and an evaluation store.

    The stores are in float16, and have exactly ``train_samples`` and ``test_samples`` rows. References are
    ``document``, ``position`` (in the document) and ``token``. Documents are read in the order of `opened_text`.
    Evaluation begins with the first document that no training context contains. If anything fails, no file appears. If
    the process is killed, the next call with equal settings continues from the last `filling.COMMIT_BATCHES` batches.
    With the same number of torch's threads, it writes the same stores.

    Parameters
    ----------
    source
        Settings.
    model
        Folder with a transformers checkpoint and its tokenizer, or name of a model at the hub.
    text
        A text, as for `opened_text`.
    stores
        Split (train or test) -> file to write. With ``part``, only one split.
    part
        Number of this part, from 0, and the number n of parts of the training store; None for whole stores. Independent
        jobs write the n training parts and the evaluation store. Job i reads documents i, i + n + 1 and so on, so no
        document is in two files, and packs its own contexts. Every job reads a streamed text completely, but tokenises
        only its own documents. `sdlcore.data.shards.unite` joins the parts.
    device
        Device of the model; None for the CPU.

    Raises
    ------
    SourceError
        If the model or the text cannot be used, or the text has too few tokens.
    """
    rows, share = {"train": source.train_samples, "test": source.test_samples}, WHOLE
    if part is not None:
        number, parts = part
        share = DocumentShare(number if "train" in stores else parts, parts + 1)
        rows["train"] = (number + 1) * source.train_samples // parts - number * source.train_samples // parts
    lm, tokenised, plan = open_source(source, model, text, share, device)
    if part is not None:
        plan = plan._replace(facts={**plan.facts, "share": list(share)})
    write_splits(lm, tokenised, plan, {split: (path, rows[split]) for split, path in stores.items()})
