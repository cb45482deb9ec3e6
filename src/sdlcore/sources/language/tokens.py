"""Pack documents into contexts of equal length, with a separator token between documents."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from sdlcore.errors import SourceError
from sdlcore.sources.language.corpus import Document

SEPARATOR = "<|endoftext|>"
DOCUMENTS_AT_ONCE = 64
"""Number of documents for one call of a tokenizer, which processes them in parallel."""


class Tokens(NamedTuple):
    """Packed tokens: integer arrays of one shape (T for a context, B x T for a batch)."""

    token: np.ndarray
    """Token ids."""
    document: np.ndarray
    """Number of the token's document in the text; -1 for tokens that packing adds."""
    position: np.ndarray
    """Index of the token in its document; -1 for tokens that packing adds."""
    place: np.ndarray
    """Place of the token's document in the order of the text. A separator has the place of the document after it."""


class TokenisedDocument(NamedTuple):
    """A document as token ids, with place and number as in `Document`."""

    place: int
    number: int
    ids: list[int]


def separator_of(tokenizer: Any) -> int:
    """Return the id of the token between documents: ``<|endoftext|>`` if the vocabulary contains it, otherwise eos.

    In chat models the eos token ends a turn, but pretraining separated documents by ``<|endoftext|>``.

    Raises
    ------
    SourceError
        If the tokenizer has neither token.
    """
    found = tokenizer.convert_tokens_to_ids(SEPARATOR)  # an unknown token gives unk's id, or None
    if found is None or tokenizer.convert_ids_to_tokens(found) != SEPARATOR:
        found = tokenizer.eos_token_id
    if found is None:
        name = tokenizer.name_or_path or type(tokenizer).__name__
        raise SourceError(f"{name}: the tokenizer has neither {SEPARATOR} nor an eos token; set one")
    return found


def opening_of(tokenizer: Any) -> int | None:
    """Return the id of the bos token if the tokenizer begins texts with it, otherwise None."""
    ids = tokenizer("a")["input_ids"]  # empty if the vocabulary has neither the letter nor an unknown token
    return ids[0] if ids and ids[0] == tokenizer.bos_token_id else None


def tokenise(documents: Iterable[Document], tokenizer: Any) -> Iterator[TokenisedDocument]:
    """Yield the token ids of each document, without special tokens."""
    coming = iter(documents)
    while part := list(islice(coming, DOCUMENTS_AT_ONCE)):
        ids = tokenizer([document.text for document in part], add_special_tokens=False)["input_ids"]
        for document, its in zip(part, ids, strict=True):
            yield TokenisedDocument(document.place, document.number, its)


def pack(
    documents: Iterable[TokenisedDocument],
    separator: int,
    context_length: int,
    bos: int | None = None,
    position: int = 0,
) -> Iterator[Tokens]:
    """Yield contexts of ``context_length`` tokens, with ``separator`` between documents.

    A document continues in the next context. A remainder that does not fill a context is dropped.

    Parameters
    ----------
    documents
        Tokenised documents; empty ones are skipped.
    separator
        Id of the token between documents.
    context_length
        T.
    bos
        Id of a token that every context begins with.
    position
        Number of tokens of the first document to skip, because earlier contexts contain them. `following` returns it
        for the context that comes next.
    """
    body = context_length - (bos is not None)
    waiting = np.empty((4, 0), dtype=np.int32)
    opening = np.array([[]] * 4 if bos is None else [[bos], [-1], [-1], [-1]], dtype=np.int32)
    first = True
    for place, number, ids in documents:
        skipped, position = position, 0
        if not ids:
            continue
        counted = np.arange(len(ids))
        piece = np.stack([np.asarray(ids), np.full_like(counted, number), counted, np.full_like(counted, place)])
        between = [] if first else [np.array([[separator], [-1], [-1], [place]])]
        waiting = np.concatenate([waiting, *between, piece[:, skipped:]], axis=1, dtype=np.int32)
        first = False
        while waiting.shape[1] >= body:
            yield Tokens(*np.concatenate([opening, waiting[:, :body]], axis=1))
            waiting = waiting[:, body:]


def following(tokens: Tokens) -> tuple[int, int]:
    """Return where the next context begins: the place of its document, and the number of its tokens to skip."""
    return int(tokens.place.flat[-1]), int(tokens.position.flat[-1]) + 1


def contexts_of(
    documents: Iterable[Document], tokenizer: Any, context_length: int, position: int = 0
) -> Iterator[Tokens]:
    """Pack documents into contexts with a model's own tokenizer; ``position`` as in `pack`."""
    tokenised = tokenise(documents, tokenizer)
    return pack(tokenised, separator_of(tokenizer), context_length, opening_of(tokenizer), position)
