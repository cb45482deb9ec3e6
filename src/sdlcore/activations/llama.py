"""Residual streams of Llama-family language models.

A text is cut into documents, tokenised, and packed into contexts of fixed length with a separator token
between documents. The model runs only up to the block that is asked for, and each token that is kept becomes a
row of an activation store. Three kinds of rows are dropped and counted, since their norms are tens to hundreds
of times the others' and a dictionary would be fitted to them alone: position 0 of every context (the attention
sink), separator tokens, and what is left above a multiple of the median norm.

``hidden_states[k]`` of transformers is the residual stream after k blocks, i.e. the input of block index k.
Here that holds for the last block too, where transformers itself would give the stream after the final norm.
"""

import logging
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import LlamaModel

from sdlcore.activations.checkpoints import load_tokenizer, load_truncated
from sdlcore.activations.store import create_store
from sdlcore.activations.text import (
    SourceError,
    Tokens,
    opening_of,
    pack,
    read_documents,
    separator_of,
    tokenise,
)
from sdlcore.files import atomic_path, provenance, sha256_of
from sdlcore.streams import stream

log = logging.getLogger(__name__)

# tokens whose median norm stands for the source's: enough for a steady median, few enough to run twice
MEDIAN_ROWS = 2048
KINDS = ("kept", "first_position", "separator", "outlier")
KEPT, FIRST, SEPARATED, OUTLIER = range(len(KINDS))


@dataclass(frozen=True)
class LlamaSource:
    """Settings of one source; `config/schema/config.schema.yaml` describes the same keys.

    Attributes
    ----------
    model, text
        What the configuration calls the model and the text; kept as provenance.
    model_sha256, text_sha256
        Checksums of the wheels that they come from, if pinned; kept as provenance.
    layer
        Number of blocks after which the residual stream is taken.
    context_length
        Tokens of one context.
    contexts_per_batch
        Contexts that run at once.
    train_samples, test_samples
        Rows of the two stores.
    outlier_norm
        Rows with a norm above this multiple of the median are dropped.
    dtype
        Precision of the forward pass: float32 or bfloat16.
    """

    model: str
    text: str
    model_sha256: str | None = None
    text_sha256: str | None = None
    layer: int = 12
    context_length: int = 128
    contexts_per_batch: int = 16
    train_samples: int = 30000
    test_samples: int = 5000
    outlier_norm: float = 10.0
    dtype: str = "float32"

    def __post_init__(self) -> None:
        ones = ("layer", "contexts_per_batch", "train_samples", "test_samples")
        for name, minimum in [("context_length", 2), *((name, 1) for name in ones)]:
            if getattr(self, name) < minimum:
                raise SourceError(f"{name} is {getattr(self, name)}, but must be at least {minimum}")
        if not self.outlier_norm > 1:
            raise SourceError(f"outlier_norm is {self.outlier_norm}, but must be above 1, the median itself")
        if self.dtype not in ("float32", "bfloat16"):
            raise SourceError(f"dtype is {self.dtype!r}, but must be float32 or bfloat16")


def extract(
    source: LlamaSource,
    model_dir: str | Path,
    text_path: str | Path,
    train_path: str | Path,
    test_path: str | Path,
    threads: int = 1,
) -> None:
    """Write the residual stream of ``source`` to a training and an evaluation store, in float16.

    Exactly ``train_samples`` and ``test_samples`` rows; references are ``document``, ``position`` (in the
    document) and ``token``. Documents come in an order shuffled once and for all. Evaluation begins with the
    first document that no training context touches.
    Outliers of both are measured by the median norm of the first contexts: some `MEDIAN_ROWS` tokens, position
    0 and separators left out. If anything fails, neither file appears.

    Parameters
    ----------
    source
        Settings.
    model_dir
        Folder with a transformers Llama checkpoint and its tokenizer.
    text_path
        File that `read_documents` reads.
    train_path, test_path
        Stores to make or replace.
    threads
        Threads of torch, for the whole process from then on.

    Raises
    ------
    SourceError
        If the model or the text does not serve, or the text has too few tokens.
    """
    torch.set_num_threads(threads)
    model_dir, text_path = Path(model_dir), Path(text_path)
    model = load_truncated(model_dir, source.layer, source.dtype)
    tokenizer = load_tokenizer(model_dir)
    documents = read_documents(text_path)
    # texts come sorted, by topic or alphabet: in file order, a small store would see only its beginning
    order = stream(0, "documents").permutation(len(documents))
    documents = [documents[index] for index in order]
    separator, opening = separator_of(tokenizer), opening_of(tokenizer)

    splits = {"train": source.train_samples, "test": source.test_samples}
    # contexts needed if nothing but position 0 were dropped
    least = sum(math.ceil(wanted / (source.context_length - 1)) for wanted in splits.values())

    def contexts_from(start: int) -> Iterator[Tokens]:
        return pack(tokenise(documents, tokenizer, start), separator, source.context_length, opening)

    def too_little(share: float) -> SourceError:
        found = sum(len(ids) for _, ids in tokenise(documents, tokenizer))
        return SourceError(
            f"{text_path}: has {found} tokens, but {splits['train']} + {splits['test']} rows need about "
            f"{math.ceil(max(least * source.context_length, found / share))}; take a longer text, or lower "
            "train_samples or test_samples"
        )

    if sum(1 for _ in islice(contexts_from(0), least)) < least:
        raise too_little(share=1)

    first = list(islice(contexts_from(0), math.ceil(MEDIAN_ROWS / source.context_length)))
    sample = _rows(model, first, source.contexts_per_batch, separator, math.inf)
    norms = [_norms(hidden_ND[kind_N == KEPT]) for _, hidden_ND, kind_N in sample]
    median = float(np.median(np.concatenate(norms)))
    facts = provenance(
        __file__,
        source=asdict(source),
        input=_convention(source.layer),
        references="document: index in the text; position: of the token in its document; token: its id",
        model_files={path.name: sha256_of(path) for path in sorted(model_dir.glob("*.safetensors"))},
        text_file={text_path.name: sha256_of(text_path)},
        separator={"token": tokenizer.convert_ids_to_tokens(separator), "id": separator},
        opening=None if opening is None else tokenizer.convert_ids_to_tokens(opening),
        median_norm=median,
        largest_norm=source.outlier_norm * median,
        precision={"forward": source.dtype, "stored": "float16"},
        threads=threads,
    )
    start = 0
    with atomic_path(train_path) as train_part, atomic_path(test_path) as test_part:
        for part, (split, wanted) in zip((train_part, test_part), splits.items(), strict=True):
            contexts = contexts_from(start)
            batches = _rows(model, contexts, source.contexts_per_batch, separator, facts["largest_norm"])
            try:
                last = _write(part, facts | {"split": split}, wanted, batches, order)
            except _TextEndedError as ended:
                rows = ended.rows + (splits["train"] if split == "test" else 0)
                raise too_little(share=max(rows, 1) / sum(splits.values())) from None
            start = last + 1


class _TextEndedError(Exception):
    """The text ended after ``rows`` rows of a store."""

    def __init__(self, rows: int) -> None:
        super().__init__(rows)
        self.rows = rows


def _rows(
    model: LlamaModel, contexts: Iterable[Tokens], per_batch: int, separator: int, largest_norm: float
) -> Iterator[tuple[Tokens, np.ndarray, np.ndarray]]:
    """Yield for each B contexts: tokens (B x T), residual stream (BT x D, float32) and kinds (BT)."""
    waiting = iter(contexts)
    while batch := list(islice(waiting, per_batch)):
        tokens = Tokens(*(np.stack(arrays) for arrays in zip(*batch, strict=True)))
        with torch.inference_mode():
            hidden = model(torch.from_numpy(tokens.token).long(), use_cache=False).last_hidden_state
        hidden_ND = hidden.flatten(0, 1).float().numpy()
        is_first_BT = np.zeros(tokens.token.shape, dtype=bool)
        is_first_BT[:, 0] = True
        # the first condition that holds names the kind, so that each dropped row is counted once
        reasons = [is_first_BT.ravel(), tokens.token.ravel() == separator, _norms(hidden_ND) > largest_norm]
        yield tokens, hidden_ND, np.select(reasons, [FIRST, SEPARATED, OUTLIER], KEPT)


def _norms(hidden_ND: np.ndarray) -> np.ndarray:
    return np.linalg.norm(hidden_ND, axis=1)


def _write(
    path: Path,
    facts: dict[str, Any],
    wanted: int,
    batches: Iterator[tuple[Tokens, np.ndarray, np.ndarray]],
    order: np.ndarray,
) -> int:
    """Write the first ``wanted`` kept rows of ``batches``; return the last document of the contexts used.

    Batches count documents as they were shuffled, references as they stand in the file: ``order`` leads from the one
    to the other.
    """
    counts = np.zeros(len(KINDS), dtype=int)
    contexts = 0
    with create_store(path, facts, dtype="float16") as writer:
        for tokens, hidden_ND, kind_N in batches:
            before = writer.rows
            kept = np.flatnonzero(kind_N == KEPT)[: wanted - before]
            if before + len(kept) == wanted:  # what comes after the last row is neither used nor counted
                kind_N = kind_N[: kept[-1] + 1]
            used = math.ceil(len(kind_N) / tokens.token.shape[1])
            counts += np.bincount(kind_N, minlength=len(KINDS))
            contexts += used
            references = {name: values_BT.ravel()[kept] for name, values_BT in tokens._asdict().items()}
            references["document"] = order[references["document"]]
            writer.append(hidden_ND[kept], references=references)
            if before * 10 // wanted < writer.rows * 10 // wanted:
                log.info("%s: %d of %d rows", facts["split"], writer.rows, wanted)
            if writer.rows == wanted:
                break
        else:
            raise _TextEndedError(writer.rows)
        drops = {name: int(count) for name, count in zip(KINDS, counts, strict=True)}
        writer.provenance |= {"contexts": contexts, "rows_by_kind": drops}
    last = int(tokens.document[:used].max())
    log.info("%s: %d contexts up to document %d, rows by kind %s", facts["split"], contexts, last, drops)
    return last


def _convention(layer: int) -> str:
    return (
        f"hidden_states[{layer}]: the residual stream after {layer} blocks, i.e. the input of block "
        f"index {layer} (the first block has index 0), before any final norm"
    )
