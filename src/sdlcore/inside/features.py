"""Statistics of single latents, and their HTML: examples, histograms, logits and nearest latents."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sdlcore.inside.hooks import Readout
from sdlcore.model.coder import SparseCoder

BINS = 40
WIDTH, HEIGHT = 400, 110
"""Width and height of the histogram, in units of its drawing."""
FIFTHS = 5
"""Number of equal parts of a latent's range. The page shows examples from each part below the topmost."""
SHOWN = 20
"""Number of latents to show if the user names no latents."""
TOKENS_AT_ONCE, LATENTS_AT_ONCE = 16384, 64


class Logits(NamedTuple):
    """Tokens, each with the amount that a decoder row adds to its logit."""

    up: list[tuple[str, float]]
    """Tokens with the largest logits, descending."""
    down: list[tuple[str, float]]
    """Tokens with the smallest logits, ascending."""


class Histogram(NamedTuple):
    """Histogram of a latent's positive activations: counts in bins of equal width from zero to the largest."""

    largest: float
    counts: list[int]


class Interval(NamedTuple):
    """Some contexts of a latent, or images, whose activation is in one interval."""

    low: float
    high: float
    """The interval (low, high] of activations."""
    share: float
    """Share of the latent's active tokens, or patches, whose activation is in the interval."""
    contexts: Sequence[Any]


class Feature(NamedTuple):
    """Statistics and contexts of one latent."""

    latent: int
    density: float
    """Share of the tokens, patches or images at which the latent is active."""
    histogram: Histogram | None
    """None if the latent is never active."""
    contexts: Sequence[Any]
    """Contexts with the largest activations, one in each document, or images; most active first."""
    intervals: list[Interval]
    """Contexts or images of the lower intervals, most active first. Top contexts alone make a
    latent look purer than it is."""
    logits: Logits | None
    """None if the dictionary does not write to the residual stream, or the model has no unembedding."""
    nearest: list[tuple[int, float]]
    """Other latents with the largest cosines between decoder rows."""


@dataclass(frozen=True, repr=False)
class Features:
    """Features of several latents of one dictionary."""

    title: str
    """Name of the model and of the place in it, or of the store."""
    n_q: int
    """Number of the dictionary's latents."""
    rows: int
    """Number of tokens, patches or images read, without those left out."""
    features: list[Feature]
    units: str = "tokens"
    """Noun for the rows, such as tokens or patches."""
    pictured: ClassVar[bool] = False
    """Whether contexts are images."""

    def __repr__(self) -> str:
        """Return the five largest activations of each latent with their contexts, as text."""
        lines = [f"{self.title}: {len(self.features)} of {self.n_q} latents over {self.rows:,} {self.units}"]
        for feature in self.features:
            lines += ["", f"latent {feature.latent}: active at {feature.density:.3%} of the {self.units}"]
            if feature.logits is not None:
                lines.append("  logits up: " + ", ".join(repr(token) for token, _ in feature.logits.up[:5]))
            lines += [f"  {context.peak.activation:8.3g}  {context.brief}" for context in feature.contexts[:5]]
        return "\n".join(lines)

    def _repr_html_(self) -> str | None:
        """Return all latents as one piece of HTML for a notebook; None, and so text, if jinja2 is not installed."""
        try:
            return self.render("fragment.html.j2")
        except ModuleNotFoundError:
            return None

    def render(self, template: str, **variables: Any) -> str:
        """Return HTML from one of this package's templates."""
        from sdlcore.templates import templates  # imported here, since only HTML needs jinja2

        environment = templates("sdlcore.inside")
        environment.filters |= {"bars": _bars, "strength": _strength, "visible": _visible, "token": _token}
        shown = {feature.latent for feature in self.features}
        return environment.get_template(template).render(
            pages=self, shown=shown, WIDTH=WIDTH, HEIGHT=HEIGHT, **variables
        )


def histogram_of(values: np.ndarray) -> Histogram | None:
    """Return the histogram of the positive activations, or None if there are none."""
    if not len(values):
        return None
    largest = float(values.max())
    counts, _ = np.histogram(values, bins=BINS, range=(0, largest))
    return Histogram(largest, counts.tolist())


def largest_of_groups(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return the index of the largest value of each group, such as a document or an image; the largest value first."""
    order = np.argsort(-values, kind="stable")
    _, firsts = np.unique(groups[order], return_index=True)
    return order[np.sort(firsts)]


def evenly_spaced(entries: np.ndarray, number: int) -> np.ndarray:
    """Return ``number`` of the entries, evenly spaced, with the first and the last; all if there are fewer."""
    return entries[np.linspace(0, len(entries) - 1, min(number, len(entries))).round().astype(int)]


class Examples(NamedTuple):
    """Indices of a latent's activations to show, the largest first."""

    top: np.ndarray
    intervals: list[tuple[float, float, float, np.ndarray]]
    """For each fifth of the latent's range below the topmost that is not empty, from the largest down: its bounds
    (low, high], the share of the activations in it, and indices."""


def examples_of(values: np.ndarray, groups: np.ndarray, number: int, in_interval: int, once: bool) -> Examples:
    """Choose the activations of a latent to show.

    Parameters
    ----------
    values
        The latent's activations above zero.
    groups
        Document or image of each activation; at most one of each is shown at the top, and in each interval.
    number
        Number of top activations.
    in_interval
        Number of activations of each lower fifth, evenly spaced by size.
    once
        Whether a group appears only with its largest activation.
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
            intervals.append((low, high, float(inside.mean()), evenly_spaced(entries, in_interval)))
    return Examples(best[:number], intervals)


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
        some = [int(latent) for latent in latents[at : at + LATENTS_AT_ONCE]]
        rows_LD = coder.W_dec[some, -coder.target_sites[-1] :]
        logits_LV = logits_of(rows_LD, readout)[:, : len(tokenizer)]
        up, down = (_named(logits_LV, number, largest, tokenizer) for largest in (True, False))
        logits |= {latent: Logits(*tokens) for latent, *tokens in zip(some, up, down, strict=True)}
    return logits


def _named(logits_LV: Tensor, number: int, largest: bool, tokenizer: Any) -> list[list[tuple[str, float]]]:
    """Return, for each row, the tokens with the largest or smallest logits, and these logits."""
    values_LK, tokens_LK = logits_LV.topk(min(number, logits_LV.shape[1]), largest=largest)
    return [
        [(token_text(token, tokenizer), value) for token, value in zip(tokens, values, strict=True)]
        for tokens, values in zip(tokens_LK.tolist(), values_LK.tolist(), strict=True)
    ]


@torch.no_grad()
def nearest_latents(coder: SparseCoder, latents: Sequence[int], number: int = 5) -> dict[int, list[tuple[int, float]]]:
    """Return, for each latent, the other latents whose decoder rows have the largest cosines with its own row."""
    rows_QR = torch.nn.functional.normalize(coder.W_dec.detach())
    neighbours = {}
    for latent in latents:
        cosines_Q = rows_QR @ rows_QR[latent]
        cosines_Q[latent] = -2
        values, others = cosines_Q.topk(min(number, len(cosines_Q) - 1))
        neighbours[int(latent)] = [(int(q), float(value)) for q, value in zip(others, values, strict=True)]
    return neighbours


class Bar(NamedTuple):
    """One bar of a histogram, in units of its drawing."""

    x: float
    y: float
    width: float
    height: float
    title: str


def _bars(histogram: Histogram) -> list[Bar]:
    counts, step = histogram.counts, WIDTH / len(histogram.counts)
    tallest, bin_width = max(counts), histogram.largest / len(counts)
    bars = []
    for place, count in enumerate(counts):
        # a count of one must stay visible beside thousands
        height = max(HEIGHT * count / tallest, 1.5) if count else 0
        title = f"{place * bin_width:.3g} to {(place + 1) * bin_width:.3g}: {count}"
        bars.append(Bar(place * step, HEIGHT - height, step - 1, height, title))
    return bars


def _strength(value: float, feature: Feature) -> str:
    """Return the strength of an activation, as a share of the latent's largest."""
    return f"{value / feature.histogram.largest:.2f}" if feature.histogram else "0"


def _visible(text: str) -> str:
    """Return a piece of text with visible line breaks, so that a context stays on one line."""
    return text.replace("\r", "").replace("\n", "⏎ ")


def _token(text: str) -> str:
    """Return the text of a single token with visible spaces and control characters."""
    visible = text.replace("\n", "⏎").replace(" ", "␣")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in visible) or "∅"
