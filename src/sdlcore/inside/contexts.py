"""Find the contexts in a text where latents are most active."""

import html
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from sdlcore.data.pairs import make_pair
from sdlcore.data.reading import ActivationStore
from sdlcore.model.sparse_coder import SparseCoder
from sdlcore.sources.language.corpus import Text
from sdlcore.sources.language.text import SourceError

ROWS_AT_ONCE = 1024
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+.!|~>-])")


class Peak(NamedTuple):
    """A token at which a latent is active."""

    latent: int
    activation: float
    document: int
    """Index of the document in the text, as in the store's references."""
    position: int
    """Index of the token in the document."""
    token: int
    """Its id."""


class Snippet(NamedTuple):
    """A peak in its text."""

    peak: Peak
    before: str
    token: str
    after: str

    def to_dict(self) -> dict[str, float | str]:
        """Return what JSON holds of it."""
        parts = {"before": self.before, "token": self.token, "after": self.after}
        where = {name: getattr(self.peak, name) for name in ("activation", "document", "position")}
        return where | {"token_id": self.peak.token} | parts


def latents_to_show(coder: SparseCoder, store: ActivationStore, number: int) -> list[int]:
    """Return ``number`` latents, evenly spaced over those that ever fire on a store, by how often they do."""
    fired = np.zeros(coder.config.n_q, dtype=np.int64)
    for block in _active(coder, store):
        fired += np.bincount(block.latent, minlength=len(fired))
    order = np.argsort(-fired, kind="stable")[: int((fired > 0).sum())]
    places = np.linspace(0, len(order) - 1, min(number, len(order))).round().astype(int)
    return [int(latent) for latent in order[places]]


def top_activating(
    coder: SparseCoder, store: ActivationStore, latents: Sequence[int], number: int = 10
) -> dict[int, list[Peak]]:
    """Return for each latent its largest activations on a store, most active first, at most one a document.

    Parameters
    ----------
    coder
        In evaluation mode.
    store
        With the references ``document``, ``position`` and ``token``. Tokens that belong to no document are passed over.
    latents
        Which.
    number
        Peaks of a latent; fewer where it fires in fewer documents.
    """
    best: dict[int, list[Peak]] = {latent: [] for latent in latents}
    for start, row, latent, value in _active(coder, store):
        of_it = np.flatnonzero(np.isin(latent, list(best)))
        stop = start + ROWS_AT_ONCE
        where = [
            store.read(f"references/{name}", start, stop)[row[of_it]] for name in ("document", "position", "token")
        ]
        for entry, document, position, token in zip(of_it, *where, strict=True):
            if document >= 0:
                peak = Peak(int(latent[entry]), float(value[entry]), int(document), int(position), int(token))
                best[peak.latent].append(peak)
        best = {latent: _first_of_documents(peaks)[:number] for latent, peaks in best.items()}
    return best


def _first_of_documents(peaks: list[Peak]) -> list[Peak]:
    """Return peaks by falling activation, of each document the first."""
    firsts: dict[int, Peak] = {}
    for peak in sorted(peaks, key=lambda peak: (-peak.activation, peak.document, peak.position)):
        firsts.setdefault(peak.document, peak)
    return list(firsts.values())


class _Active(NamedTuple):
    """The positive latents of a block of rows: one entry each."""

    start: int
    """First row of the block."""
    row: np.ndarray
    """Counted from ``start``."""
    latent: np.ndarray
    value: np.ndarray


def _active(coder: SparseCoder, store: ActivationStore) -> Iterator[_Active]:
    pair = coder.config.pair
    for start in range(0, store.rows, ROWS_AT_ONCE):
        stop = start + ROWS_AT_ONCE
        target = store.read("target", start, stop) if pair != "sae" else None
        x_p, _ = make_pair(pair, store.read("input", start, stop), target)
        with torch.inference_mode():
            out = coder(torch.from_numpy(x_p.astype(np.float32)).to(coder.W_enc.device))
        on = out.values > 0
        parts = (out.support.rows[on], out.support.columns[on], out.values[on])
        yield _Active(start, *(part.cpu().numpy() for part in parts))


def snippets(peaks: Iterable[Peak], text: Text, tokenizer: Any, width: int = 24) -> list[Snippet]:
    """Return peaks with up to ``width`` tokens of their documents on either side.

    Raises
    ------
    SourceError
        If the text is not the one that the peaks were found in.
    """
    peaks = list(peaks)
    wanted = {peak.document for peak in peaks}
    found: dict[int, list[int]] = {}
    for document in text.documents() if wanted else ():
        if document.number in wanted:
            found[document.number] = tokenizer(document.text, add_special_tokens=False)["input_ids"]
            if len(found) == len(wanted):
                break
    shown = []
    for peak in peaks:
        ids, at = found.get(peak.document, []), peak.position
        if at >= len(ids) or ids[at] != peak.token:
            raise SourceError(
                f"{text.name}: document {peak.document} does not have token {peak.token} at {at}; it is not the text, "
                "or not the tokenizer, that the store was made from"
            )
        parts = (ids[max(0, at - width) : at], ids[at : at + 1], ids[at + 1 : at + 1 + width])
        shown.append(Snippet(peak, *(tokenizer.decode(part) if part else "" for part in parts)))
    return shown


def as_html(snippet: Snippet) -> str:
    """Return a snippet as HTML, escaped, the token in ``<mark>``."""
    before, token, after = (html.escape(part) for part in snippet[1:])
    return f"{before}<mark>{token}</mark>{after}"


def as_markdown(snippet: Snippet) -> str:
    """Return a snippet as a line of Markdown, escaped, the token in ``<b>``, line breaks as ⏎."""
    parts = (_MARKDOWN.sub(r"\\\1", html.escape(part, quote=False)) for part in snippet[1:])
    before, token, after = (part.replace("\r", "").replace("\n", " ⏎ ") for part in parts)
    return f"{before}<b>{token}</b>{after}"


def page(title: str, by_latent: dict[int, list[Snippet]]) -> str:
    """Return a page of Markdown: the snippets of each latent, most active first."""
    lines = [f"# {title}", ""]
    for latent, its in by_latent.items():
        lines += [f"## Latent {latent}", ""]
        lines += [f"- {snippet.peak.activation:.3g}: {as_markdown(snippet)}" for snippet in its]
        lines.append("")
    return "\n".join(lines)
