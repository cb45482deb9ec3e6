"""Find the tokens in a text where latents are active, as a language model reads it, and show them in their contexts."""

from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse

from sdlcore.data.pairs import in_order, make_pair
from sdlcore.extraction.config import Site
from sdlcore.extraction.engine import read_contexts
from sdlcore.extraction.hooks import Stack
from sdlcore.extraction.text import Text
from sdlcore.extraction.tokens import KEPT, RowKinds, Tokens, rendered
from sdlcore.inside.features import column_of, encode_rows, token_text
from sdlcore.model.activation import refuse_signed
from sdlcore.model.coder import SparseCoder

WHERE = ("document", "position", "token")
"""References of a token: the number of its document, -1 outside of documents; its index there; and its id."""
Codes = tuple[scipy.sparse.csr_array, np.ndarray]
"""Latents of B tokens (B x n_q), and their references (B x 3, the columns `WHERE`)."""


class Context(NamedTuple):
    """A token at which a latent is active, with the tokens around it."""

    activation: float
    document: int
    """Number of the document in the text."""
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


class Firings(NamedTuple):
    """The T tokens of documents, by document and position, and the activations of M latents at them."""

    tokens: int
    """Number of tokens read, also outside of documents, without those left out."""
    values: scipy.sparse.csc_array
    """Activations above zero, T x M."""
    where: np.ndarray
    """References, T x 3: the columns `WHERE`."""

    def of(self, column: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the N activations of one of the latents, and the references of their tokens (N x 3)."""
        rows, values = column_of(self.values, column)
        return values, self.where[rows]


def tokens_of_model(
    coder: SparseCoder,
    stack: Stack,
    sites: Mapping[str, Site],
    contexts: Iterable[Tokens],
    kinds: RowKinds,
    contexts_per_batch: int,
) -> Generator[Codes, None, None]:
    """Run a model over contexts, and yield the latents of the rows that extraction would store.

    Close the generator, since its hooks stay in the model until it ends.
    """
    for batch in read_contexts(stack.model, stack.points(sites), contexts, contexts_per_batch):
        mask = kinds.of(batch.tokens, batch.norms) == KEPT
        x_p, _ = make_pair(coder.config.pair, *in_order({name: x[mask] for name, x in batch.values.items()}))
        yield encode_rows(coder, x_p), np.stack([getattr(batch.tokens, name).ravel()[mask] for name in WHERE], axis=1)


def firings(coder: SparseCoder, batches: Iterable[Codes], latents: Sequence[int]) -> Firings:
    """Collect the tokens at which ``latents`` are active. Tokens outside of documents only count.

    ValueError if latents are signed, since contexts are ranked by the largest activations.
    """
    refuse_signed(coder.sigma, "the ranking of contexts by a latent")
    tokens, parts = 0, [scipy.sparse.csr_array((0, len(latents)), dtype=np.float32)]
    references = [np.empty((0, len(WHERE)), dtype=np.int64)]
    for codes, where in batches:
        tokens += len(where)
        in_document = where[:, 0] >= 0
        parts.append(codes[in_document][:, list(latents)])
        references.append(where[in_document])
    values, where = scipy.sparse.vstack(parts, format="csr"), np.concatenate(references)
    values.eliminate_zeros()
    order = np.lexsort((where[:, 1], where[:, 0]))
    return Firings(tokens, values[order].tocsc(), where[order])


def read_pieces(text: Text, numbers: Collection[int], tokenizer: Any) -> dict[int, list[str]]:
    """Return the pieces of some documents (`pieces_of`) by their numbers."""
    pieces: dict[int, list[str]] = {}
    for document in text.documents() if numbers else ():
        if document.number in numbers:
            pieces[document.number] = pieces_of(rendered(document.text, tokenizer), tokenizer)
            if len(pieces) == len(numbers):
                break
    return pieces


def context_at(
    values: np.ndarray, where: np.ndarray, entry: int, pieces: Mapping[int, Sequence[str]], width: int
) -> Context:
    """Return the context of one of a latent's activations (`Firings.of`), with ``width`` tokens on either side."""
    document, position, token = where[entry].tolist()
    texts = pieces[document]
    near = (where[:, 0] == document) & (abs(where[:, 1] - position) <= width)
    strengths = dict(zip(where[near, 1].tolist(), values[near].tolist(), strict=True))
    start, stop = max(0, position - width), min(position + 1 + width, len(texts))
    around = tuple(texts[start:stop]), tuple(strengths.get(place, 0.0) for place in range(start, stop))
    return Context(float(values[entry]), document, position, token, *around, position - start)


def pieces_of(text: str, tokenizer: Any) -> list[str]:
    """Return the part of a document's text that each of its tokens has, without special tokens.

    A space belongs to the token after it. A character that several tokens share belongs to the first of them; the
    further tokens get empty text. A slow tokenizer returns no offsets, so each of its tokens is decoded alone.
    """
    if not getattr(tokenizer, "is_fast", False):
        return [token_text(token, tokenizer) for token in tokenizer(text, add_special_tokens=False)["input_ids"]]
    encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ends = np.maximum.accumulate([0, *(end for _, end in encoding["offset_mapping"])])
    return [text[start:end] for start, end in pairwise(ends)]
