"""Tokenise documents, pack them into contexts of equal length, and say which tokens become rows."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from sdlcore.errors import SourceError
from sdlcore.extraction.text import WHOLE, Content, Documents, DocumentShare

SEPARATOR = "<|endoftext|>"
CHARACTERS_AT_ONCE = 2**18
"""Largest number of characters for one call of a tokenizer, which needs some hundred bytes for each. A longer document
is tokenised in pieces that end before a space."""
CHATS = 1000
"""Number of chats after which a role that no message has is an error, so that a misspelt role reads no whole text."""
KINDS = ("kept", "first_position", "separator", "outlier", "role")
KEPT, FIRST, SEPARATED, OUTLIER, ROLE = range(len(KINDS))


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
    chosen: np.ndarray | None = None
    """1 for tokens of the chosen roles of chats; 1 for all tokens of other texts."""

    @property
    def next(self) -> tuple[int, int]:
        """Where the next context begins: the place of its document, and the number of its tokens to skip."""
        return int(self.place.flat[-1]), int(self.position.flat[-1]) + 1


class TokenisedDocument(NamedTuple):
    """A document as token ids, with place and number as in `Document`."""

    place: int
    number: int
    ids: Sequence[int] | np.ndarray
    chosen: np.ndarray | None = None
    """Whether each token belongs to a chosen role of a chat; None for all."""


def separator_of(tokenizer: Any) -> int:
    """Return the id of the token between documents: ``<|endoftext|>`` if the vocabulary contains it, otherwise eos.

    In chat models the eos token ends a turn, but pretraining separated documents by ``<|endoftext|>``. SourceError if
    the tokenizer has neither token.
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

    Without ``bos``, they do where the tokenizer begins texts with it. SourceError if the tokenizer has no bos token.
    """
    if bos is None:
        ids = tokenizer("a")["input_ids"]  # empty if the vocabulary has neither the letter nor an unknown token
        bos = bool(ids) and ids[0] == tokenizer.bos_token_id
    elif bos and tokenizer.bos_token_id is None:
        name = tokenizer.name_or_path or type(tokenizer).__name__
        raise SourceError(f"{name}: bos is True, but the tokenizer has no bos token; leave bos out")
    return tokenizer.bos_token_id if bos else None


class TokenisedText:
    """A text as token ids, which are computed anew in each pass, and packed into contexts.

    Parameters
    ----------
    text, tokenizer
        The documents, and the tokenizer of the model. Its template turns chats into text.
    context_length
        Tokens of a context.
    contexts_per_batch
        Contexts in a pass of the model.
    bos
        Whether contexts begin with the bos token, as for `opening_of`. Its id is then ``opening``.
    roles
        A role in chats, such as assistant, or several, whose tokens become rows; None for all. A message begins with
        its header.
    share
        The documents to read.
    """

    def __init__(
        self,
        text: Documents,
        tokenizer: Any,
        context_length: int,
        contexts_per_batch: int = 16,
        bos: bool | None = None,
        roles: str | Sequence[str] | None = None,
        share: DocumentShare = WHOLE,
    ) -> None:
        self.text, self.tokenizer, self.name, self._share = text, tokenizer, text.name, share
        self.context_length, self.contexts_per_batch = context_length, contexts_per_batch
        self.roles = None if roles is None else (roles,) if isinstance(roles, str) else tuple(roles)
        self.separator, self.opening = separator_of(tokenizer), opening_of(tokenizer, bos)

    @property
    def vocabulary(self) -> str:
        """Hex SHA-256 of the tokenizer's tokens and ids."""
        return hashlib.sha256(json.dumps(self.tokenizer.get_vocab(), sort_keys=True).encode()).hexdigest()

    def contexts(self, place: int = 0, position: int = 0, share: DocumentShare | None = None) -> Iterator[Tokens]:
        """Yield contexts, from a token of the document at ``place`` on (`pack`)."""
        return pack(self.documents(place, share), self.separator, self.context_length, self.opening, position)

    def batches(self, place: int = 0, position: int = 0) -> Iterator[Tokens]:
        """Yield batches of contexts (B x T), from a token of the document at ``place`` on."""
        return stack_batches(self.contexts(place, position), self.contexts_per_batch)

    def documents(self, place: int = 0, share: DocumentShare | None = None) -> Iterator[TokenisedDocument]:
        """Yield the documents, from ``place`` on, without special tokens.

        SourceError if none of the first `CHATS` chats, or of all chats of a shorter text, has a chosen role.
        """
        found: set[str] = set()
        chats = 0
        for at, number, content in self.text.documents(place, share or self._share):
            if isinstance(content, str):
                yield TokenisedDocument(at, number, self._ids(content))
            else:
                found |= {message["role"] for message in content}
                chats += 1
                if chats == CHATS and not place:
                    self._check_roles(found)
                yield TokenisedDocument(at, number, *self._chat(content))
        if chats < CHATS and not place:
            self._check_roles(found)

    def _check_roles(self, found: set[str]) -> None:
        if self.roles is not None and found and found.isdisjoint(self.roles):
            raise SourceError(
                f"{self.name}: no message has the role {' or '.join(self.roles)}, only {', '.join(sorted(found))}; "
                "set roles to some of these"
            )

    def _ids(self, text: str) -> np.ndarray:
        return np.concatenate(
            [np.asarray(self._tokenised(piece)["input_ids"], dtype=np.int32) for piece in pieces(text)]
        )

    def _tokenised(self, text: str, **options: Any) -> Any:
        return self.tokenizer(text, add_special_tokens=False, return_attention_mask=False, **options)

    def _chat(self, chat: list[Any]) -> tuple[np.ndarray, np.ndarray]:
        """Return the token ids of a chat, and which of its tokens belong to a message of a chosen role."""
        text = rendered(chat, self.tokenizer)
        parts = [rendered(chat[:number], self.tokenizer) for number in range(1, len(chat))]
        if not all(text.startswith(part) for part in parts):
            raise SourceError(
                f"{self.name}: the tokenizer's template changes earlier messages of a chat; leave roles out"
            )
        encoding = self._tokenised(text, return_offsets_mapping=True)
        starts = np.asarray(encoding["offset_mapping"], dtype=np.int64).reshape(-1, 2)[:, 0]
        message = np.searchsorted([len(part) for part in parts], starts, side="right")
        is_chosen = np.array([self.roles is None or turn["role"] in self.roles for turn in chat])
        return np.asarray(encoding["input_ids"], dtype=np.int32), is_chosen[message]


def rendered(content: Content, tokenizer: Any) -> str:
    """Return a document as text; chats by the tokenizer's template."""
    return content if isinstance(content, str) else str(tokenizer.apply_chat_template(content, tokenize=False))


def pieces(text: str) -> Iterator[str]:
    """Yield a text in pieces of `CHARACTERS_AT_ONCE` at most, which end before a space where there is one."""
    start = 0
    while len(text) - start > CHARACTERS_AT_ONCE:
        stop = text.rfind(" ", start + 1, start + CHARACTERS_AT_ONCE)
        stop = start + CHARACTERS_AT_ONCE if stop < 0 else stop
        yield text[start:stop]
        start = stop
    yield text[start:]


def pack(
    documents: Iterable[TokenisedDocument],
    separator: int,
    context_length: int,
    bos: int | None = None,
    position: int = 0,
) -> Iterator[Tokens]:
    """Yield contexts of ``context_length`` tokens, with ``separator`` between documents.

    A document continues in the next context. Empty documents are skipped, and a remainder that does not fill a context
    is dropped. Every context begins with the token ``bos``, unless it is None. ``position`` is the number of tokens of
    the first document that earlier contexts contain (`Tokens.next`).
    """
    body = context_length - (bos is not None)
    opening = np.array([[]] * 5 if bos is None else [[bos], [-1], [-1], [-1], [1]], dtype=np.int32)
    waiting: np.ndarray | None = None
    for place, number, ids, chosen in documents:
        count = len(ids)
        if not count:
            continue
        takes = np.ones(count) if chosen is None else chosen
        columns = np.stack([ids, np.full(count, number), np.arange(count), np.full(count, place), takes])
        if waiting is None:
            waiting = columns[:, position:].astype(np.int32)
        else:
            between = np.array([[separator], [-1], [-1], [place], [1]])
            waiting = np.concatenate([waiting, between, columns], axis=1, dtype=np.int32, casting="unsafe")
        stop = waiting.shape[1] // body * body
        for start in range(0, stop, body):
            yield Tokens(*np.concatenate([opening, waiting[:, start : start + body]], axis=1))
        waiting = waiting[:, stop:]


def stack_batches(contexts: Iterable[Tokens], contexts_per_batch: int) -> Iterator[Tokens]:
    """Group contexts (T) into batches (B x T)."""
    coming = iter(contexts)
    while batch := list(islice(coming, contexts_per_batch)):
        columns: list[Any] = [None if arrays[0] is None else np.stack(arrays) for arrays in zip(*batch, strict=True)]
        yield Tokens(*columns)


class RowKinds(NamedTuple):
    """Kinds of rows to leave out."""

    separator: int
    """Id of the separator token."""
    largest_norm: Mapping[str, float]
    """Norm of a site's activations above which a row is an outlier."""
    drop: tuple[str, ...]
    """Kinds of rows to leave out."""
    by_role: bool = False
    """Whether only tokens of chosen roles of chats are kept."""

    def of(self, tokens: Tokens, norms: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the kind of each row (BT, an index of `KINDS`): the first kind in ``drop`` that matches, or kept."""
        is_first_BT = np.zeros(tokens.token.shape, dtype=bool)
        is_first_BT[:, 0] = True
        is_outlier_N = np.zeros(is_first_BT.size, dtype=bool)
        for site, limit in self.largest_norm.items():
            is_outlier_N |= norms[site] > limit
        masks = {FIRST: is_first_BT, SEPARATED: tokens.token == self.separator, OUTLIER: is_outlier_N}
        masks = {kind: mask.ravel() for kind, mask in masks.items() if KINDS[kind] in self.drop}
        if self.by_role and tokens.chosen is not None:
            masks[ROLE] = tokens.chosen.ravel() == 0
        return np.select([*masks.values(), np.ones(is_first_BT.size, dtype=bool)], [*masks, KEPT])
