"""Statistics of single latents, and their HTML: examples, histograms, logits and nearest latents."""

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import scipy.sparse
import torch
from torch import Tensor
from tqdm.auto import tqdm

from sdlcore.data.arrays import Activations
from sdlcore.data.batches import StorePart, read_pair
from sdlcore.extras import templates
from sdlcore.inside.hooks import Readout, require_width
from sdlcore.inside.neuronpedia import FEATURES_AT_ONCE, Upload, neuronpedia_feature
from sdlcore.model.coder import SparseCoder
from sdlcore.storage.files import user_path, write_text

BINS = 40
FIFTHS = 5
"""Number of equal parts of a latent's range. The page shows examples from each part below the topmost."""
SHOWN = 20
"""Number of latents to show if the user names no latents."""
ROWS_AT_ONCE = 1024
TOKENS_AT_ONCE, LATENTS_AT_ONCE = 16384, 64


class Logits(NamedTuple):
    """Tokens, each with the amount that a decoder row adds to its logit."""

    up: list[tuple[str, float]]
    """Tokens with the largest logits, descending."""
    down: list[tuple[str, float]]
    """Tokens with the smallest logits, ascending."""


class Interval(NamedTuple):
    """Some contexts of a latent, or images, whose activation is in one interval."""

    low: float
    high: float
    """The interval (low, high] of activations."""
    share: float
    """Share of the latent's active tokens, or patches, whose activation is in the interval."""
    contexts: Sequence[Any]
    """`Context` or `ImageExample`, most active first."""


class Feature(NamedTuple):
    """Statistics and contexts of one latent."""

    latent: int
    density: float
    """Share of the tokens, patches or images at which the latent is active."""
    largest: float
    """Largest activation; 0 if the latent is never active."""
    counts: list[int]
    """Histogram of the activations above zero: counts in bins of equal width from zero to the largest."""
    contexts: Sequence[Any]
    """Contexts with the largest activations, one in each document, or images; most active first."""
    intervals: list[Interval]
    """Contexts or images of the lower intervals. Top contexts alone make a latent look purer than it is."""
    logits: Logits | None
    """None if the dictionary does not write to the residual stream, or the model has no unembedding."""
    nearest: list[tuple[int, float]]
    """Other latents with the largest cosines between decoder rows."""

    @property
    def examples(self) -> list[Any]:
        """All contexts, or images."""
        return [*self.contexts, *(context for part in self.intervals for context in part.contexts)]

    def map_contexts(self, show: Callable[[Any], Any]) -> Self:
        """Return the latent with ``show`` applied to each context."""
        intervals = [part._replace(contexts=[*map(show, part.contexts)]) for part in self.intervals]
        return self._replace(contexts=[*map(show, self.contexts)], intervals=intervals)


@dataclass(frozen=True, repr=False)
class Pages:
    """Pages of several latents of one dictionary, by contexts in texts or by images."""

    title: str
    """Name of the model and of the place in it, or of the store."""
    n_q: int
    """Number of the dictionary's latents."""
    rows: int
    """Number of tokens, patches or images read, without those left out."""
    features: list[Feature]
    units: str = "tokens"
    """Noun for the rows, such as tokens or patches."""
    pictured: bool = False
    """Whether contexts are images."""
    block: int = 0
    """The block of a language model that the dictionary writes to or after, counted from 1."""

    def __repr__(self) -> str:
        """Return the five largest activations of each latent with their contexts, as text."""
        lines = [f"{self.title}: {len(self.features)} of {self.n_q} latents over {self.rows:,} {self.units}"]
        for feature in self.features:
            lines += ["", f"latent {feature.latent}: active at {feature.density:.3%} of the {self.units}"]
            if feature.logits is not None:
                lines.append("  logits up: " + ", ".join(repr(token) for token, _ in feature.logits.up[:5]))
            lines += [f"  {context.activation:8.3g}  {context.brief}" for context in feature.contexts[:5]]
        return "\n".join(lines)

    def _repr_html_(self) -> str | None:
        """Return all latents as one piece of HTML for a notebook; None, and so text, if jinja2 is not installed."""
        try:
            return self.render("fragment.html.j2")
        except ModuleNotFoundError:
            return None

    def render(self, template: str, **variables: Any) -> str:
        """Return HTML from one of this package's templates."""
        environment = templates("sdlcore.inside")
        environment.filters |= {"visible": _visible, "token": _token}
        latents = {feature.latent for feature in self.features}
        return environment.get_template(template).render(pages=self, shown=latents, **variables)

    def to_html(self, path: str | Path) -> Path:
        """Write the pages, with styles and pictures inside, and return the path of the file to open.

        Contexts go to a folder, with ``latent_N.html`` for each latent and an ``index.html`` that can be searched and
        sorted. Images go to one file.
        """
        folder = user_path(path, "path")
        if self.pictured:
            write_text(folder, self.render("images.html.j2"))
            return folder
        for feature in self.features:
            write_text(folder / f"latent_{feature.latent}.html", self.render("latent.html.j2", feature=feature))
        write_text(folder / "index.html", self.render("index.html.j2"))
        return folder / "index.html"

    def to_neuronpedia(
        self, model_id: str, name: str, description: str | None = None, url: str | None = None
    ) -> Upload:
        """Return an upload for Neuronpedia's client, to inspect, save or send.

        Parameters
        ----------
        model_id
            The model's id at Neuronpedia.
        name
            Name of the source set to create: letters, digits, hyphens and dots.
        description, url
            Description and link of the source set; without a description, the title of these pages.
        """
        if self.pictured:
            raise ValueError("these pages show images, and Neuronpedia shows tokens; write them by to_html")
        features = [neuronpedia_feature(feature) for feature in self.features]
        batches = [features[at : at + FEATURES_AT_ONCE] for at in range(0, len(features), FEATURES_AT_ONCE)]
        source_set = {"name": name, "model_id": model_id, "description": description or self.title, "url": url}
        return Upload(source_set, self.block - 1, batches)


def encode_rows(coder: SparseCoder, x_p: np.ndarray) -> scipy.sparse.csr_array:
    """Return the latents of B samples (B x n_p) as a sparse matrix, B x n_q."""
    require_width(coder, x_p)
    with torch.inference_mode():
        return coder.encode_csr(torch.from_numpy(x_p.astype(np.float32)).to(coder.W_enc.device))


def codes_of_store(
    coder: SparseCoder, store: Activations | StorePart, progress: bool = False
) -> Iterator[scipy.sparse.csr_array]:
    """Yield the latents of a store's rows, `ROWS_AT_ONCE` at a time."""
    starts = range(0, store.rows, ROWS_AT_ONCE)
    for start in tqdm(starts, desc="rows", unit_scale=ROWS_AT_ONCE, disable=None if progress else True):
        yield encode_rows(coder, read_pair(store, coder.config.pair, start, start + ROWS_AT_ONCE)[0])


def latents_to_show(codes: Iterable[scipy.sparse.csr_array], number: int) -> list[int]:
    """Return ``number`` latents that are active in ``codes``, evenly spaced from the most to the least frequent."""
    fired = sum(np.bincount(part.indices, minlength=part.shape[1]) for part in codes)
    order = np.argsort(-fired, kind="stable")
    return evenly_spaced(order[: np.count_nonzero(fired)], number).tolist()


def features_of(
    coder: SparseCoder,
    latents: Sequence[int],
    codes: scipy.sparse.csc_array,
    groups: np.ndarray,
    rows: int,
    number: int,
    in_interval: int,
    once: bool,
) -> list[Feature]:
    """Return the statistics of M latents from their codes (N x M). Their examples are indices of rows.

    ``groups`` are the documents or images of the N rows, and ``rows`` counts all rows that were read. Up to ``number``
    rows have the largest activations, each of another group; `lower_fifths` describes the others.
    """
    nearest, features = nearest_latents(coder, latents), []
    for column, latent in enumerate(latents):
        entries = slice(*codes.indptr[column : column + 2])
        where, values = codes.indices[entries], codes.data[entries]
        largest = float(values.max(initial=0))
        counts = np.histogram(values, bins=BINS, range=(0, largest))[0].tolist() if len(values) else []
        top = where[largest_of_groups(values, groups[where])[:number]].tolist()
        intervals = [
            part._replace(contexts=where[part.contexts].tolist())
            for part in lower_fifths(values, groups[where], in_interval, once)
        ]
        features.append(Feature(latent, len(values) / rows, largest, counts, top, intervals, None, nearest[latent]))
    return features


def largest_of_groups(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return the index of the largest value of each group, such as a document or an image; the largest value first."""
    order = np.argsort(-values, kind="stable")
    _, firsts = np.unique(groups[order], return_index=True)
    return order[np.sort(firsts)]


def evenly_spaced(entries: np.ndarray, number: int) -> np.ndarray:
    """Return ``number`` of the entries, evenly spaced, with the first and the last; all if there are fewer."""
    return entries[np.linspace(0, len(entries) - 1, min(number, len(entries))).round().astype(int)]


def lower_fifths(values: np.ndarray, groups: np.ndarray, number: int, once: bool) -> list[Interval]:
    """Choose up to ``number`` activations of a latent from each fifth of its range below the topmost, largest first.

    ``values`` are the latent's activations above zero, and ``groups`` their documents or images; an interval contains
    at most one of each, evenly spaced by size. With ``once``, a group appears only with its largest activation. Fifths
    without activations are left out. ``contexts`` of the intervals are indices of activations.
    """
    best, largest, intervals = largest_of_groups(values, groups), float(values.max(initial=0)), []
    for part in range(FIFTHS - 1, 0, -1):
        low, high = largest * (part - 1) / FIFTHS, largest * part / FIFTHS
        inside = (low < values) & (values <= high)
        if once:
            entries = best[inside[best]]
        else:
            entries = np.flatnonzero(inside)[largest_of_groups(values[inside], groups[inside])]
        if len(entries):
            intervals.append(Interval(low, high, float(inside.mean()), evenly_spaced(entries, number).tolist()))
    return intervals


def token_text(token: int, tokenizer: Any) -> str:
    """Return the text of a token in the vocabulary, including a leading space."""
    raw = tokenizer.convert_ids_to_tokens(token)
    return raw.replace("▁", " ") if raw and "▁" in raw else tokenizer.decode([token])


@torch.no_grad()
def logits_of(directions_LD: Tensor, readout: Readout) -> Tensor:
    """Return the logits (L x vocabulary) of directions of the residual stream: unembedding · (norm(d) - norm(0)).

    The final norm scales a direction to the length that the unembedding reads, and applies its gains. Subtracting
    norm(0) removes its bias. The mean over the vocabulary is subtracted, since softmax ignores it. This is the direct
    path only: blocks between a latent and the unembedding do not contribute.
    """
    norm = copy.deepcopy(readout.norm).float()
    directions_LD = directions_LD.detach().float().to(readout.unembedding.device)
    read_LD = norm(directions_LD) - norm(torch.zeros_like(directions_LD))
    logits_LV = torch.cat([read_LD @ rows.float().T for rows in readout.unembedding.split(TOKENS_AT_ONCE)], dim=-1)
    return logits_LV - logits_LV.mean(-1, keepdim=True)


def logits_up_and_down(
    coder: SparseCoder, latents: Sequence[int], readout: Readout, tokenizer: Any, number: int = 10
) -> dict[int, Logits]:
    """Return the tokens whose logits each latent's decoder row raises and lowers most.

    If a dictionary has several sites, the decoder row of the last counts. Padding rows of the unembedding, which belong
    to no token, are left out.
    """
    logits: dict[int, Logits] = {}
    for at in range(0, len(latents), LATENTS_AT_ONCE):
        some = latents[at : at + LATENTS_AT_ONCE]
        logits_LV = logits_of(coder.W_dec[some, -coder.target_sites[-1] :], readout)[:, : len(tokenizer)]
        ends = [logits_LV.topk(min(number, logits_LV.shape[1]), largest=largest) for largest in (True, False)]
        for row, latent in enumerate(some):
            tokens = ([token_text(token, tokenizer) for token in end.indices[row].tolist()] for end in ends)
            values = (end.values[row].tolist() for end in ends)
            logits[latent] = Logits(*(list(zip(*each, strict=True)) for each in zip(tokens, values, strict=True)))
    return logits


@torch.no_grad()
def nearest_latents(coder: SparseCoder, latents: Sequence[int], number: int = 5) -> dict[int, list[tuple[int, float]]]:
    """Return, for each latent, the other latents whose decoder rows have the largest cosines with its own row."""
    rows_QR = torch.nn.functional.normalize(coder.W_dec.detach())
    neighbours = {}
    for latent in latents:
        cosines_Q = rows_QR @ rows_QR[latent]
        cosines_Q[latent] = -2
        values, others = cosines_Q.topk(min(number, len(cosines_Q) - 1))
        neighbours[latent] = list(zip(others.tolist(), values.tolist(), strict=True))
    return neighbours


def _visible(text: str) -> str:
    """Return a piece of text with visible line breaks, so that a context stays on one line."""
    return text.replace("\r", "").replace("\n", "⏎ ")


def _token(text: str) -> str:
    """Return the text of a single token with visible spaces and control characters."""
    visible = text.replace("\n", "⏎").replace(" ", "␣")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in visible) or "∅"
