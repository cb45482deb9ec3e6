"""Pack documents into contexts of equal length, with a separator token between documents."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from typing import Any, NamedTuple, Self

import numpy as np

from sdlcore.errors import SourceError
from sdlcore.extraction.corpus import WHOLE, Document, Share, Text

SEPARATOR = "<|endoftext|>"
DOCUMENTS_AT_ONCE = 64
"""Largest number of documents for one call of a tokenizer, which processes them in parallel."""
CHARACTERS_AT_ONCE = 2**18
"""Largest number of characters for one call of a tokenizer, which needs some hundred bytes for each."""
OVERLAPS = (2**12, 2**14, 2**16)
"""Overlaps of two windows of a long document, in characters; the first at which they agree on tokens is used."""
AGREEING = 32
"""Tokens in a row on which two windows must agree."""
KEPT_CHARACTERS = 2**26
"""Characters of a text whose ids are kept in memory. English needs about 64 MB for them."""


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
    """A document as token ids, or a part of a long one, with place and number as in `Document`."""

    place: int
    number: int
    ids: Sequence[int] | np.ndarray
    start: int = 0
    """Index in the document of the first of these tokens."""


def separator_of(tokenizer: Any) -> int:
    """Return the id of the token between documents: ``<|endoftext|>`` if the vocabulary contains it, otherwise eos.

    In chat models the eos token ends a turn, but pretraining separated documents by ``<|endoftext|>``.

    Raises
    ------
    SourceError
        If the tokenizer has neither token.
    """
    token_id = tokenizer.convert_tokens_to_ids(SEPARATOR)  # an unknown token gives unk's id, or None
    if token_id is None or tokenizer.convert_ids_to_tokens(token_id) != SEPARATOR:
        token_id = tokenizer.eos_token_id
    if token_id is None:
        name = tokenizer.name_or_path or type(tokenizer).__name__
        raise SourceError(f"{name}: the tokenizer has neither {SEPARATOR} nor an eos token; set one")
    return token_id


def opening_of(tokenizer: Any, bos: bool | None = None) -> int | None:
    """Return the id of the bos token if contexts begin with it, otherwise None.

    Parameters
    ----------
    tokenizer
        The tokenizer.
    bos
        Whether contexts begin with the bos token; None if they do where the tokenizer begins texts with it.

    Raises
    ------
    SourceError
        If contexts are to begin with the bos token, and the tokenizer has none.
    """
    if bos is None:
        ids = tokenizer("a")["input_ids"]  # empty if the vocabulary has neither the letter nor an unknown token
        bos = bool(ids) and ids[0] == tokenizer.bos_token_id
    elif bos and tokenizer.bos_token_id is None:
        name = tokenizer.name_or_path or type(tokenizer).__name__
        raise SourceError(f"{name}: bos is True, but the tokenizer has no bos token; leave bos out")
    return tokenizer.bos_token_id if bos else None


class TokenisedText:
    """A text as token ids. A text in memory is tokenised once, as far as somebody reads, and its ids stay in memory.

    Ids take four bytes a token; after `KEPT_CHARACTERS` no further documents are kept. A streamed text is tokenised
    again by each pass, which reads only the part that it needs.

    Attributes
    ----------
    text, tokenizer
        The documents, and the tokenizer of the model.
    separator
        Id of the token between documents.
    opening
        Id of the bos token if contexts begin with it, otherwise None; ``bos`` as for `opening_of`.
    """

    def __init__(self, text: Text, tokenizer: Any, bos: bool | None = None) -> None:
        self.text, self.tokenizer = text, tokenizer
        self.separator, self.opening = separator_of(tokenizer), opening_of(tokenizer, bos)
        self._parts: dict[int, Iterable[np.ndarray]] = {}
        self._characters = 0

    @property
    def name(self) -> str:
        """Name of the text, for messages."""
        return self.text.name

    @property
    def vocabulary(self) -> str:
        """Hex SHA-256 of the tokenizer's tokens and ids."""
        return hashlib.sha256(json.dumps(self.tokenizer.get_vocab(), sort_keys=True).encode()).hexdigest()

    def contexts(
        self, context_length: int, start: int = 0, share: Share = WHOLE, position: int = 0
    ) -> Iterator[Tokens]:
        """Pack the documents of a share, from place ``start`` on, into contexts; ``position`` as in `pack`."""
        return pack(self.documents(start, share), self.separator, context_length, self.opening, position)

    def documents(self, start: int = 0, share: Share = WHOLE) -> Iterator[TokenisedDocument]:
        """Yield the documents of a share, from place ``start`` on, without special tokens; long ones in parts."""
        coming = self.text.documents(start, share)
        for several in _at_once(coming):
            missing = [document for document in several if document.place not in self._parts]
            parts = dict(zip((document.place for document in missing), self._tokenised(missing), strict=True))
            if self.text.whole and self._characters < KEPT_CHARACTERS:
                self._parts |= parts
                self._characters += sum(len(document.text) for document in missing)
            for place, number, _ in several:
                start = 0
                for ids in parts[place] if place in parts else self._parts[place]:
                    yield TokenisedDocument(place, number, ids, start)
                    start += len(ids)

    def _tokenised(self, documents: Sequence[Document]) -> list[Iterable[np.ndarray]]:
        if len(documents) == 1:
            return [_Parts(ids_of(documents[0].text, self.tokenizer, CHARACTERS_AT_ONCE))]
        return [(ids,) for ids in _ids([document.text for document in documents], self.tokenizer)]


class _Parts:
    """The token ids of a document in parts, which are computed as far as somebody reads."""

    def __init__(self, coming: Iterator[np.ndarray]) -> None:
        self._coming, self._parts = coming, list[np.ndarray]()

    def __iter__(self) -> Iterator[np.ndarray]:
        for number in count():
            if number == len(self._parts):
                part = next(self._coming, None)
                if part is None:
                    return
                self._parts.append(part)
            yield self._parts[number]


def _at_once(documents: Iterable[Document]) -> Iterator[list[Document]]:
    """Group documents for one call of a tokenizer. A document longer than `CHARACTERS_AT_ONCE` is alone."""
    several: list[Document] = []
    characters = 0
    for document in documents:
        characters += len(document.text)
        if several and (characters > CHARACTERS_AT_ONCE or len(several) == DOCUMENTS_AT_ONCE):
            yield several
            several, characters = [], len(document.text)
        several.append(document)
    if several:
        yield several


def _ids(texts: Sequence[str], tokenizer: Any) -> list[np.ndarray]:
    if not texts:
        return []
    token_ids = tokenizer(texts, add_special_tokens=False, return_attention_mask=False)["input_ids"]
    return [np.asarray(ids, dtype=np.int32) for ids in token_ids]


def ids_of(text: str, tokenizer: Any, characters: int) -> Iterator[np.ndarray]:
    """Yield the token ids of a document in parts, so that memory does not grow with its length.

    The tokenizer reads overlapping windows of ``characters``. Two windows are joined in the middle of their overlap,
    where they agree on `AGREEING` tokens in a row. If they agree nowhere, as in a very long number, the rest of the
    document is tokenised at once. So is a document for a slow tokenizer, which does not tell where its tokens begin.
    """
    if len(text) <= characters or not getattr(tokenizer, "is_fast", False):
        yield _ids([text], tokenizer)[0]
        return
    window, skipped = _Window.read(text, 0, characters, tokenizer), 0
    while window.stop < len(text):
        for overlap in OVERLAPS:
            start = window.stop - min(overlap, characters // 2)
            following = _Window.read(text, start, start + characters, tokenizer)
            joint = window.joint(following)
            if joint is not None:
                break
        else:
            yield _ids([text[window.start :]], tokenizer)[0][skipped:]
            return
        yield window.ids[skipped : joint[0]]
        window, skipped = following, joint[1]
    yield window.ids[skipped:]


class _Window(NamedTuple):
    """The tokens of a part of a document."""

    start: int
    stop: int
    """Characters of the document."""
    ids: np.ndarray
    first: np.ndarray
    """The character of the document that each token begins with."""

    @classmethod
    def read(cls, text: str, start: int, stop: int, tokenizer: Any) -> Self:
        part = text[start:stop]
        encoding = tokenizer(part, add_special_tokens=False, return_attention_mask=False, return_offsets_mapping=True)
        first = np.asarray(encoding["offset_mapping"], dtype=np.int64).reshape(-1, 2)[:, 0]
        return cls(start, start + len(part), np.asarray(encoding["input_ids"], dtype=np.int32), start + first)

    def joint(self, following: Self) -> tuple[int, int] | None:
        """Return the index of the same token in this window and in the following one, where both agree."""
        margin = (self.stop - following.start) // 3
        places = {int(at): number for number, at in reversed(list(enumerate(following.first[: self.stop])))}
        inside = (following.start + margin <= self.first) & (self.first < self.stop - margin)
        for here in np.flatnonzero(inside).tolist():
            other = places.get(int(self.first[here]), len(following.ids))
            run, its = slice(here, here + AGREEING), slice(other, other + AGREEING)
            if (
                len(self.ids[run]) == AGREEING
                and np.array_equal(self.ids[run], following.ids[its])
                and np.array_equal(self.first[run], following.first[its])
            ):
                return here, other
        return None


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
    first: int | None = None
    for place, number, ids, start in documents:
        if not len(ids):
            continue
        if first is None:
            first = place
        elif start == 0:
            between = np.array([[separator], [-1], [-1], [place]])
            waiting = np.concatenate([waiting, between], axis=1, dtype=np.int32)
        at = max(0, position - start) if place == first else 0
        while True:
            if waiting.shape[1] == body:
                yield Tokens(*np.concatenate([opening, waiting], axis=1))
                waiting = np.empty((4, 0), dtype=np.int32)
            piece = np.asarray(ids[at : at + body - waiting.shape[1]], dtype=np.int32)
            if not len(piece):
                break
            counted = np.arange(start + at, start + at + len(piece), dtype=np.int32)
            piece = np.stack([piece, np.full_like(counted, number), counted, np.full_like(counted, place)])
            waiting = np.concatenate([waiting, piece], axis=1)
            at += piece.shape[1]


def following(tokens: Tokens) -> tuple[int, int]:
    """Return where the next context begins: the place of its document, and the number of its tokens to skip."""
    return int(tokens.place.flat[-1]), int(tokens.position.flat[-1]) + 1
