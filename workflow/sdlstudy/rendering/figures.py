"""Set the style of figures, and save them as PNG and PDF with reproducible bytes."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from sdlcore.storage.files import atomic_path

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
        "axes.titlesize": 9,
        "axes.grid": True,
        "grid.color": "0.92",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "lines.linewidth": 1.4,
        "lines.markersize": 5,
        "pdf.fonttype": 42,
    }
    with matplotlib.rc_context(settings):
        yield


def draw_lines(panels: Mapping[str, pd.DataFrame], **look: Any) -> Any:
    """Draw y over x in a panel for each frame, a colour for each method; return seaborn's FacetGrid.

    ``look`` are arguments of `seaborn.relplot`. Its ``row`` or ``col`` is "panel", the frames' names.
    """
    import seaborn

    rows = pd.concat([frame.assign(panel=name) for name, frame in panels.items()], ignore_index=True)
    return seaborn.relplot(rows, y="y", hue="method", kind="line", palette="colorblind", **look)


def save_figure(figure: Figure, png: str | Path, pdf: str | Path) -> None:
    """Write a figure as PNG and PDF, each whole or not at all.

    The files contain no time and no version, so a figure is always written as the same bytes by one version of
    matplotlib.
    """
    none: dict[str, Any] = {"png": {"Software": None}, "pdf": dict.fromkeys(("Creator", "Producer", "CreationDate"))}
    for path, kind in ((png, "png"), (pdf, "pdf")):
        with atomic_path(path) as part:
            figure.savefig(part, format=kind, dpi=200, bbox_inches="tight", metadata=none[kind])
