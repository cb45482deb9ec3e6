"""Draw the images that activate latents most, labelled with the classes of the images (figures 9 and 10)."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sdlcore.evaluation.top_samples import TopSamples
from sdlcore.extraction.pictures import open_picture
from sdlcore.storage.parsing import describe_error
from sdlcore.text import in_figure, printable
from sdlstudy.rendering.figures import GREY, PALETTE, style

CLASSES_SHOWN = 6
"""Number of classes with a bar of their own in a histogram; the others share one bar."""
LONGEST_LINE = 14
"""Number of characters after which a class name is wrapped."""
LONGEST_NAME, LONGEST_TITLE = 40, 200
"""Number of characters after which a class name in one line, or the title, is cut off."""


class ShownLatent(NamedTuple):
    """A latent of the figure: its matched class, its top images, and the classes of its top samples."""

    latent: int
    """Index of the latent."""
    reference: str
    """The class whose mean the latent's decoder column matches. Rows differ in class and latent."""
    cosine: float
    """Cosine of the decoder column with the mean of the class."""
    tied: bool
    """Whether the latent is anchored to that class in this run."""
    images: Sequence[Path]
    """Image files, by descending activation."""
    names: Sequence[str]
    """Class names of the images."""
    histogram: Sequence[tuple[str, int]]
    """Classes of all top samples of the latent and their counts, most frequent first."""


def figure_top_images(rows: Sequence[ShownLatent], images: int, title: str) -> Figure:
    """Draw one row for each latent: its top images, and a histogram of the classes of its top samples.

    Parameters
    ----------
    rows
        The latents.
    images
        Number of images in a row; a latent with fewer images leaves places empty.
    title
        Title: method, anchoring, source and seed.

    Raises
    ------
    ValueError
        If an image cannot be read; the message names the file.
    """
    with style():
        figure = Figure(figsize=(1.0 * images + 3.4, 1.45 * len(rows) + 0.5), layout="constrained")
        figure.suptitle(in_figure(title, LONGEST_TITLE), fontsize=10, x=0.01, ha="left")
        grid = figure.add_gridspec(len(rows), images + 1, width_ratios=[*[1.0] * images, 3.2])
        for i, row in enumerate(rows):
            for j in range(images):
                axes = figure.add_subplot(grid[i, j])
                axes.set_axis_off()
                if j < len(row.images):
                    axes.imshow(_read(row.images[j]))
                    # wrapped, so that neighbouring names do not overlap
                    axes.set_title(_wrapped(row.names[j]), fontsize=5.5, pad=2)
            _draw_histogram(figure.add_subplot(grid[i, images]), row)
    return figure


def records(
    rows: Sequence[ShownLatent], top: TopSamples, paths: np.ndarray, labels: np.ndarray, names: Sequence[str]
) -> list[dict[str, object]]:
    """Return the rows of the figure's table, one for each top sample of each latent.

    Parameters
    ----------
    rows
        The latents.
    top
        The top samples of the latents, in the same order.
    paths, labels
        File and class number of each sample of the store.
    names
        Class names, by number.
    """
    return [
        {
            "latent": row.latent,
            "reference": row.reference,
            "cosine": row.cosine,
            "tied": row.tied,
            "place": place,
            "activation": float(value),
            "class": names[labels[sample]],
            "path": paths[sample],
        }
        for i, row in enumerate(rows)
        for place, (value, sample) in enumerate(zip(top.values[i], top.samples[i], strict=True))
        if sample >= 0
    ]


def _draw_histogram(axes: Axes, row: ShownLatent) -> None:
    bars = list(row.histogram[:CLASSES_SHOWN])
    other_count = sum(count for _, count in row.histogram[CLASSES_SHOWN:])
    if other_count:
        bars.append((f"{len(row.histogram) - CLASSES_SHOWN} more classes", other_count))
    places = np.arange(len(bars))[::-1]
    colours = [PALETTE[3] if name == row.reference else PALETTE[0] for name, _ in bars]
    if other_count:
        colours[-1] = GREY
    axes.barh(places, [count for _, count in bars], color=colours, height=0.7)
    axes.set_yticks(places, [in_figure(name, LONGEST_NAME) for name, _ in bars], fontsize=6)
    axes.tick_params(axis="x", labelsize=6)
    axes.grid(visible=False, axis="y")
    total, classes = sum(count for _, count in row.histogram), len(row.histogram)
    link = "tied to" if row.tied else "nearest to"
    axes.set_title(
        f"latent {row.latent}, {link} {in_figure(row.reference, LONGEST_NAME)} (cosine {row.cosine:.2f}):\n"
        f"{classes} class{'es' if classes != 1 else ''} share its top {total}",
        fontsize=6.5,
        loc="left",
    )


def _wrapped(name: str) -> str:
    lines = [""]
    for word in name.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > LONGEST_LINE:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(in_figure(line, 2 * LONGEST_LINE) for line in lines[:3])


def _read(path: Path) -> np.ndarray:
    try:
        with open_picture(path) as picture:
            return np.asarray(picture.convert("RGB"))
    except Exception as error:  # over a broken file, decoders raise nearly anything
        raise ValueError(f"{printable(path)}: not a readable image ({describe_error(error, path)})") from error
