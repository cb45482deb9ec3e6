"""Find the contexts in a text where latents are most active, token by token."""

import html
import re
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar

import numpy as np

from sdlcore.errors import SourceError
from sdlcore.extraction.corpus import Text
from sdlcore.extraction.tokens import rendered
from sdlcore.inside.features import largest_of_groups, token_text
from sdlcore.inside.firing import Fired, Firings

Key = TypeVar("Key", bound=Hashable)
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+.!|~>-])")


class Peak(NamedTuple):
    """A token at which a latent is active."""

    latent: int
    activation: float
    document: int
    """Number of the document in the text, as in the store's references."""
    position: int
    """Index of the token in the document."""
    token: int
    """Id of the token."""


class Context(NamedTuple):
    """A peak with the tokens around it."""

    peak: Peak
    tokens: tuple[str, ...]
    """Pieces of the text, one for each token, with their spaces."""
    values: tuple[float, ...]
    """Activation of the latent at each token; zero for tokens that are left out."""
    at: int
    """Index of the peak's token."""

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

    def to_dict(self) -> dict[str, float | str]:
        """Return the context as JSON values."""
        parts = {"before": self.before, "token": self.token, "after": self.after}
        where = {name: getattr(self.peak, name) for name in ("activation", "document", "position")}
        return where | {"token_id": self.peak.token} | parts


def peaks_at(fired: Fired, latent: int, entries: np.ndarray) -> list[Peak]:
    """Return some of a latent's activations, by index, as peaks."""
    some = fired.at(entries)
    columns = (column.tolist() for column in (some.value, some.document, some.position, some.token))
    return [Peak(latent, *values) for values in zip(*columns, strict=True)]


def top_activating(firings: Firings, latent: int, number: int = 10) -> list[Peak]:
    """Return the ``number`` largest activations of a latent, most active first, with at most one in each document."""
    fired = firings.of(latent)
    return peaks_at(fired, latent, largest_of_groups(fired.value, fired.document)[:number])


def contexts_in_text(
    peaks: Mapping[Key, list[Peak]], firings: Firings, text: Text, tokenizer: Any, width: int = 24
) -> dict[Key, list[Context]]:
    """Return the contexts of several lists of peaks, with up to ``width`` tokens on either side of a peak.

    Each list belongs to one latent.

    Raises
    ------
    SourceError
        If the peaks were found in another text.
    """
    numbers = {peak.document for group in peaks.values() for peak in group}
    pieces: dict[int, Pieces] = {}
    for document in text.documents() if numbers else ():
        if document.number in numbers:
            pieces[document.number] = pieces_of(rendered(document.text, tokenizer), tokenizer)
            if len(pieces) == len(numbers):
                break
    return {key: _contexts_of(group, firings, pieces, text.name, width) for key, group in peaks.items()}


def _contexts_of(
    peaks: list[Peak], firings: Firings, pieces: Mapping[int, "Pieces"], name: str, width: int
) -> list[Context]:
    if not peaks:
        return []
    fired = firings.of(peaks[0].latent)
    fired = fired.at(np.isin(fired.document, [peak.document for peak in peaks]))
    values: dict[int, dict[int, float]] = defaultdict(dict)
    for document, position, value in zip(fired.document, fired.position, fired.value, strict=True):
        values[int(document)][int(position)] = float(value)
    contexts = []
    for peak in peaks:
        ids, texts = pieces.get(peak.document, _NOTHING)
        if peak.position >= len(ids) or ids[peak.position] != peak.token:
            raise SourceError(
                f"{name}: document {peak.document} does not have token {peak.token} at {peak.position}; the "
                "activations come from another text or tokenizer"
            )
        start, stop = max(0, peak.position - width), peak.position + 1 + width
        strengths = (values[peak.document].get(place, 0.0) for place in range(start, min(stop, len(ids))))
        contexts.append(Context(peak, tuple(texts[start:stop]), tuple(strengths), peak.position - start))
    return contexts


class Pieces(NamedTuple):
    """A document split into tokens."""

    ids: list[int]
    texts: list[str]
    """The text of each token. With a tokenizer that returns offsets, the pieces join to the whole document."""


_NOTHING = Pieces([], [])


def pieces_of(text: str, tokenizer: Any) -> Pieces:
    """Split a document into tokens, without special tokens, and return them with the part of the text of each.

    A space belongs to the token after it. A character that several tokens share belongs to the first of them, and the
    text of the others is empty. A slow tokenizer returns no offsets, so each of its tokens is decoded alone.
    """
    if not getattr(tokenizer, "is_fast", False):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        return Pieces(ids, [token_text(token, tokenizer) for token in ids])
    encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ends = [0]
    for _, end in encoding["offset_mapping"]:
        ends.append(max(end, ends[-1]))
    texts = [text[start:end] for start, end in pairwise(ends)]
    return Pieces(encoding["input_ids"], texts)


def as_markdown(context: Context) -> str:
    """Format a context as a line of escaped Markdown, with the peak in ``<b>`` and line breaks as ⏎."""
    parts = (context.before, context.token, context.after)
    escaped = (_MARKDOWN.sub(r"\\\1", html.escape(part, quote=False)) for part in parts)
    before, token, after = (part.replace("\r", "").replace("\n", " ⏎ ") for part in escaped)
    return f"{before}<b>{token}</b>{after}"


def contexts_page(title: str, by_latent: Mapping[int, Iterable[Context]]) -> str:
    """Return a Markdown page with the contexts of each latent, most active first."""
    lines = [f"# {title}", ""]
    for latent, contexts in by_latent.items():
        lines += [f"## Latent {latent}", ""]
        lines += [f"- {context.peak.activation:.3g}: {as_markdown(context)}" for context in contexts]
        lines.append("")
    return "\n".join(lines)
