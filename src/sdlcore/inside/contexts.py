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
from sdlcore.extraction.text import Documents
from sdlcore.extraction.tokens import KEPT, RowKinds, Tokens, rendered
from sdlcore.inside.features import encode_rows, token_text
from sdlcore.model.coder import SparseCoder

WHERE = ("document", "position", "token")
"""References of a token: the number of its document, -1 outside of documents; its index there; and its id."""
TokenCodes = tuple[scipy.sparse.csr_array, np.ndarray]
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


def tokens_of_model(
    coder: SparseCoder,
    stack: Stack,
    sites: Mapping[str, Site],
    contexts: Iterable[Tokens],
    kinds: RowKinds,
    contexts_per_batch: int,
) -> Generator[TokenCodes, None, None]:
    """Run a model over contexts, and yield the latents of the rows that extraction would store.

    Close the generator, since its hooks stay in the model until it ends.
    """
    for batch in read_contexts(stack.model, stack.points(sites), contexts, contexts_per_batch):
        mask = kinds.of(batch.origin, batch.norms) == KEPT
        x_p, _ = make_pair(coder.config.pair, *in_order({name: x[mask] for name, x in batch.values.items()}))
        yield encode_rows(coder, x_p), np.stack([getattr(batch.origin, name).ravel()[mask] for name in WHERE], axis=1)


def codes_in_documents(
    batches: Iterable[TokenCodes], latents: Sequence[int]
) -> tuple[int, scipy.sparse.csc_array, np.ndarray]:
    """Return the number of all tokens, and codes (T x M) and references (T x 3) of the T tokens in documents.

    The T tokens are ordered by document and position.
    """
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
    return tokens, values[order].tocsc(), where[order]


def read_pieces(text: Documents, numbers: Collection[int], tokenizer: Any) -> dict[int, list[str]]:
    """Return the pieces of some documents (`pieces_of`) by their numbers."""
    pieces: dict[int, list[str]] = {}
    for document in text.documents() if numbers else ():
        if document.number in numbers:
            pieces[document.number] = pieces_of(rendered(document.text, tokenizer), tokenizer)
            if len(pieces) == len(numbers):
                break
    return pieces


def context_at(
    row: int, values: np.ndarray, where: np.ndarray, pieces: Mapping[int, Sequence[str]], width: int
) -> Context:
    """Return the context of a row, with ``width`` tokens on either side.

    ``values`` are a latent's activations at the T tokens of documents, in order, and ``where`` their references.
    """
    document, position, token = where[row].tolist()
    texts = pieces[document]
    near = np.arange(max(0, row - width), min(row + width + 1, len(where)))
    near = near[where[near, 0] == document]
    strengths = dict(zip(where[near, 1].tolist(), values[near].tolist(), strict=True))
    start, stop = max(0, position - width), min(position + 1 + width, len(texts))
    around = tuple(texts[start:stop]), tuple(strengths.get(place, 0.0) for place in range(start, stop))
    return Context(float(values[row]), document, position, token, *around, position - start)


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
