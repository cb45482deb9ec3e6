"""Find the contexts in a text where latents are most active, token by token."""

from collections.abc import Hashable, Iterable, Mapping
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar

import numpy as np

from sdlcore.errors import SourceError
from sdlcore.extraction.text import Text
from sdlcore.extraction.tokens import rendered
from sdlcore.inside.features import largest_of_groups, token_text
from sdlcore.inside.firing import Firings

Key = TypeVar("Key", bound=Hashable)


class Context(NamedTuple):
    """A token at which a latent is active, with the tokens around it."""

    activation: float
    document: int
    """Number of the document in the text, as in the store's references."""
    position: int
    """Index of the token in the document."""
    token_id: int
    tokens: tuple[str, ...]
    """Pieces of the text, one for each token, with their spaces."""
    values: tuple[float, ...]
    """Activation of the latent at each token; zero for tokens that are left out."""
    at: int
    """Index of the active token in ``tokens``."""

    @property
    def before(self) -> str:
        return "".join(self.tokens[: self.at])

    @property
    def token(self) -> str:
        return self.tokens[self.at]

    @property
    def after(self) -> str:
        return "".join(self.tokens[self.at + 1 :])

    @property
    def brief(self) -> str:
        """The token between guillemets in a line of text, with up to 60 characters before it and 40 after it."""
        token = self.token.lstrip()
        before = self.before + self.token[: len(self.token) - len(token)]
        return " ".join(f"{before[-60:]}«{token}»{self.after[:40]}".split())


def top_contexts(
    firings: Firings, latents: Iterable[int], text: Text, tokenizer: Any, number: int = 10
) -> dict[int, list[Context]]:
    """Return the ``number`` contexts where each latent is most active, at most one in each document."""
    entries = {}
    for latent in latents:
        values, where = firings.of(latent)
        entries[latent] = latent, largest_of_groups(values, where[:, 0])[:number]
    return contexts_in_text(entries, firings, text, tokenizer)


def contexts_in_text(
    entries: Mapping[Key, tuple[int, np.ndarray]], firings: Firings, text: Text, tokenizer: Any, width: int = 24
) -> dict[Key, list[Context]]:
    """Return the contexts of chosen activations, with up to ``width`` tokens on either side.

    ``entries`` contains, under each key, a latent and indices of its activations as `Firings.of` returns them.

    Raises
    ------
    SourceError
        If the activations were found in another text.
    """
    documents = [firings.of(latent)[1][chosen, 0] for latent, chosen in entries.values()]
    wanted, pieces = {int(number) for numbers in documents for number in numbers}, {}
    for document in text.documents() if wanted else ():
        if document.number in wanted:
            pieces[document.number] = pieces_of(rendered(document.text, tokenizer), tokenizer)
            if len(pieces) == len(wanted):
                break
    contexts: dict[Key, list[Context]] = {}
    for key, (latent, chosen) in entries.items():
        values, where = firings.of(latent)
        contexts[key] = []
        for value, (number, position, token) in zip(values[chosen].tolist(), where[chosen].tolist(), strict=True):
            ids, texts = pieces.get(number, ([], []))
            if position >= len(ids) or ids[position] != token:
                raise SourceError(
                    f"{text.name}: document {number} does not have token {token} at {position}; the activations come "
                    "from another text or tokenizer"
                )
            near = (where[:, 0] == number) & (abs(where[:, 1] - position) <= width)
            strengths = dict(zip(where[near, 1].tolist(), values[near].tolist(), strict=True))
            start, stop = max(0, position - width), min(position + 1 + width, len(ids))
            around = tuple(texts[start:stop]), tuple(strengths.get(place, 0.0) for place in range(start, stop))
            contexts[key].append(Context(value, number, position, token, *around, position - start))
    return contexts


def pieces_of(text: str, tokenizer: Any) -> tuple[list[int], list[str]]:
    """Split a document into tokens, without special tokens; return their ids, and the part of the text of each.

    A space belongs to the token after it. A character that several tokens share belongs to the first of them, and the
    text of the others is empty. A slow tokenizer returns no offsets, so each of its tokens is decoded alone.
    """
    if not getattr(tokenizer, "is_fast", False):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids, [token_text(token, tokenizer) for token in ids]
    encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ends = np.maximum.accumulate([0, *(end for _, end in encoding["offset_mapping"])])
    return encoding["input_ids"], [text[start:end] for start, end in pairwise(ends)]
