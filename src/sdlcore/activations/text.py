"""Text for language models: a file to documents, documents to contexts of tokens of one length."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

SEPARATOR = "<|endoftext|>"


class SourceError(ValueError):
    """A model, a text or a setting of a source does not serve; the message says which and what to do."""


class Tokens(NamedTuple):
    """Packed tokens: three integer arrays of one shape (T for a context, B x T for a batch).

    Attributes
    ----------
    token
        Token ids.
    document
        Index of the token's document in the text, -1 for tokens that packing adds.
    position
        Index of the token in its document, -1 for tokens that packing adds.
    """

    token: np.ndarray
    document: np.ndarray
    position: np.ndarray


def read_documents(path: str | Path) -> list[str]:
    """Return the documents of a text in file order.

    A ``.txt`` file is split at blank lines. A ``.json`` file holds an object of titles with
    ``{"extract": text}``, or a list of texts or of ``{"text": text}``.

    Raises
    ------
    SourceError
        If the file is not there, not UTF-8, or of none of these forms.
    """
    path = Path(path)
    if not path.is_file() or path.suffix not in (".txt", ".json"):
        raise SourceError(f"{path}: expected an existing text, a .txt or .json file")
    try:
        content = path.read_text(encoding="utf-8")
        if path.suffix == ".txt":
            return [part for part in re.split(r"\n\s*\n", content.strip()) if part]
        found = json.loads(content)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise SourceError(f"{path}: not readable as UTF-8 {path.suffix[1:]} ({error})") from error
    if not isinstance(found, dict | list):
        raise SourceError(f"{path}: expected an object or a list, found {type(found).__name__}")
    entries, key = (found.items(), "extract") if isinstance(found, dict) else (enumerate(found), "text")
    documents = []
    for name, entry in entries:
        text = entry.get(key) if isinstance(entry, dict) else entry if isinstance(found, list) else None
        if not isinstance(text, str):
            raise SourceError(f'{path}: entry {name!r} has no text; expected an object with "{key}"')
        documents.append(text)
    return documents


def separator_of(tokenizer: Any) -> int:
    """Return the id of the token between documents: ``<|endoftext|>`` where the vocabulary has it, else eos.

    Chat models name the end of a turn as their eos, but were pretrained with ``<|endoftext|>`` in between.

    Raises
    ------
    SourceError
        If the tokenizer has neither.
    """
    found = tokenizer.get_vocab().get(SEPARATOR, tokenizer.eos_token_id)
    if found is None:
        raise SourceError(f"{tokenizer.name_or_path}: the tokenizer has neither {SEPARATOR} nor an eos token; set one")
    return found


def opening_of(tokenizer: Any) -> int | None:
    """Return the id of the bos token if the tokenizer itself begins texts with it, else None."""
    first = tokenizer("a")["input_ids"][0]
    return first if first == tokenizer.bos_token_id else None


def tokenise(documents: Sequence[str], tokenizer: Any, start: int = 0) -> Iterator[tuple[int, list[int]]]:
    """Yield index and token ids, without special tokens, of each document from index ``start`` on."""
    for first in range(start, len(documents), 64):
        part = list(documents[first : first + 64])
        yield from enumerate(tokenizer(part, add_special_tokens=False)["input_ids"], start=first)


def pack(
    documents: Iterable[tuple[int, list[int]]], separator: int, context_length: int, bos: int | None = None
) -> Iterator[Tokens]:
    """Yield contexts of ``context_length`` tokens, with ``separator`` between documents.

    Documents go on over the borders of contexts, and a rest too short for a context is left out. With
    ``bos``, every context begins with that token.
    """
    body = context_length - (bos is not None)
    waiting = np.empty((3, 0), dtype=np.int32)
    between = np.array([[separator], [-1], [-1]], dtype=np.int32)
    opening = np.array([[], [], []] if bos is None else [[bos], [-1], [-1]], dtype=np.int32)
    any_before = False
    for index, ids in documents:
        if not ids:
            continue
        piece = np.stack([np.asarray(ids), np.full(len(ids), index), np.arange(len(ids))]).astype(np.int32)
        waiting = np.concatenate([waiting, *([between] if any_before else []), piece], axis=1)
        any_before = True
        while waiting.shape[1] >= body:
            yield Tokens(*np.concatenate([opening, waiting[:, :body]], axis=1))
            waiting = waiting[:, body:]
