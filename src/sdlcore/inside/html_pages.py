"""Write pages of single latents as self-contained HTML."""

from pathlib import Path
from typing import NamedTuple

from sdlcore.extras import extra
from sdlcore.inside.features import Feature, Features, Histogram
from sdlcore.storage.files import write_text
from sdlcore.templates import templates

with extra("pages"):
    import jinja2

WIDTH, HEIGHT = 400, 110
"""Width and height of the histogram, in units of its drawing."""


class Bar(NamedTuple):
    """One bar of a histogram, in units of its drawing."""

    x: float
    y: float
    width: float
    height: float
    title: str


def write_pages(pages: Features, folder: Path) -> Path:
    """Write ``latent_N.html`` for each latent and ``index.html``; return the path of ``index.html``."""
    environment, index = _environment(), folder / "index.html"
    for feature in pages.features:
        text = environment.get_template("latent.html.j2").render(_context(pages), feature=feature)
        write_text(folder / f"latent_{feature.latent}.html", text)
    write_text(index, environment.get_template("index.html.j2").render(_context(pages)))
    return index


def fragment(pages: Features) -> str:
    """Return all latents as one piece of HTML, for a notebook."""
    return _environment().get_template("fragment.html.j2").render(_context(pages))


def _context(pages: Features) -> dict[str, object]:
    return {"pages": pages, "shown": {feature.latent for feature in pages.features}}


def _environment() -> jinja2.Environment:
    environment = templates("sdlcore.inside")
    environment.filters |= {"bars": _bars, "strength": _strength, "visible": _visible, "token": _token}
    environment.globals |= {"WIDTH": WIDTH, "HEIGHT": HEIGHT}
    return environment


def _bars(histogram: Histogram) -> list[Bar]:
    counts, step = histogram.counts, WIDTH / len(histogram.counts)
    tallest, bin_width = max(counts), histogram.largest / len(counts)
    bars = []
    for place, count in enumerate(counts):
        # a count of one must stay visible beside thousands
        height = max(HEIGHT * count / tallest, 1.5) if count else 0
        title = f"{place * bin_width:.3g} to {(place + 1) * bin_width:.3g}: {count} tokens"
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
