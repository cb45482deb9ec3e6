"""Set the style of figures, and save them as PNG and PDF with reproducible bytes."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sdlcore.storage.files import atomic_path

DOTS_PER_INCH = 200
PALETTE = ["#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#ca9161", "#fbafe4", "#949494", "#ece133", "#56b4e9"]
"""Seaborn's colour-blind palette: blue, orange, green, vermilion, ..."""
GREY = (0.45, 0.45, 0.45)


@contextmanager
def style() -> Iterator[None]:
    """Set fonts, grid and line widths for the figures that are made inside the block."""
    import seaborn  # takes a second, which no plan needs

    settings: Any = {
        **seaborn.axes_style("ticks"),
        "font.family": "DejaVu Sans",
        "font.size": 9,
        "axes.titlesize": 10,
        "axes.grid": True,
        "grid.color": "0.92",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.frameon": False,
        "pdf.fonttype": 42,
    }
    with matplotlib.rc_context(settings):
        yield


def png_bytes(figure: Figure) -> bytes:
    """Return a figure as PNG: the bytes that `save_figure` writes."""
    FigureCanvasAgg(figure)
    buffer = BytesIO()
    with style():
        figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return buffer.getvalue()


def base64_of(image: bytes) -> str:
    """Return an image in base 64, for embedding in a page."""
    return base64.b64encode(image).decode()


def save_png(figure: Figure, path: str | Path) -> None:
    """Write a figure as PNG, whole or not at all."""
    with atomic_path(path) as part:
        Path(part).write_bytes(png_bytes(figure))


def save_figure(figure: Figure, png: str | Path, pdf: str | Path) -> None:
    """Write a figure as PNG and PDF, each whole or not at all.

    The files contain no time and no version, so a figure is always written as the same bytes by one version of
    matplotlib.
    """
    save_png(figure, png)
    with style(), atomic_path(pdf) as part:
        metadata = {"Creator": None, "Producer": None, "CreationDate": None}
        figure.savefig(part, format="pdf", metadata=metadata)
