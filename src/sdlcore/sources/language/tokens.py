"""Pack documents into contexts: tokens of one length, with a separator between documents."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from sdlcore.errors import SourceError
from sdlcore.sources.language.corpus import Document

SEPARATOR = "<|endoftext|>"
DOCUMENTS_AT_ONCE = 64
"""Documents given to a tokenizer at once, which it works on in parallel."""


class Tokens(NamedTuple):
    """Packed tokens: integer arrays of one shape (T for a context, B x T for a batch)."""

    token: np.ndarray
    """Token ids."""
    document: np.ndarray
    """Number of the token's document in the text, -1 for tokens that packing adds."""
    position: np.ndarray
    """Index of the token in its document, -1 for tokens that packing adds."""
    place: np.ndarray
    """Place of the document in the order of the text; a separator has that of the document that it stands before."""


class TokenisedDocument(NamedTuple):
    """One document, as `Document` counts it."""

    place: int
    number: int
    ids: list[int]


def separator_of(tokenizer: Any) -> int:
    """Return the id of the token between documents: ``<|endoftext|>`` where the vocabulary has it, else eos.

    Chat models name the end of a turn as their eos, but were pretrained with ``<|endoftext|>`` in between.

    Raises
    ------
    SourceError
        If the tokenizer has neither.
    """
    found = tokenizer.convert_tokens_to_ids(SEPARATOR)  # what it does not know is unk's id, or None
    if found is None or tokenizer.convert_ids_to_tokens(found) != SEPARATOR:
        found = tokenizer.eos_token_id
    if found is None:
        name = tokenizer.name_or_path or type(tokenizer).__name__
        raise SourceError(f"{name}: the tokenizer has neither {SEPARATOR} nor an eos token; set one")
    return found


def opening_of(tokenizer: Any) -> int | None:
    """Return the id of the bos token if the tokenizer itself begins texts with it, else None."""
    ids = tokenizer("a")["input_ids"]  # empty where the vocabulary lacks the letter and has no unknown token
    return ids[0] if ids and ids[0] == tokenizer.bos_token_id else None


def tokenise(documents: Iterable[Document], tokenizer: Any) -> Iterator[TokenisedDocument]:
    """Yield the token ids, without special tokens, of each document."""
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

    Documents go on over the borders of contexts, and a rest too short for a context is left out.

    Parameters
    ----------
    documents
        Tokenised documents; empty ones are passed over.
    separator
        Id of the token between documents.
    context_length
        T.
    bos
        Id of a token that every context begins with.
    position
        Tokens of the first document that are left out, since contexts before this one have them: packing goes on
        where a context ended whose last token had this `position` less one (see `following`).
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
    """Return where the context after these begins: place of its document, and tokens of it that are gone by then."""
    return int(tokens.place.flat[-1]), int(tokens.position.flat[-1]) + 1


def contexts_of(
    documents: Iterable[Document], tokenizer: Any, context_length: int, position: int = 0
) -> Iterator[Tokens]:
    """Yield the contexts of documents as a model is shown them, by its own tokenizer; ``position`` as in `pack`."""
    tokenised = tokenise(documents, tokenizer)
    return pack(tokenised, separator_of(tokenizer), context_length, opening_of(tokenizer), position)
