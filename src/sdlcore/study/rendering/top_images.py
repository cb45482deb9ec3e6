"""Draw the images that activate latents most, with the classes that they are of (figures 9 and 10)."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sdlcore.pipeline import TopSamples, describe_error, in_figure, open_picture, printable
from sdlcore.study.rendering.figures import GREY, PALETTE, style

CLASSES_SHOWN = 6
"""Classes that a histogram names; the others are one bar."""
LONGEST_LINE = 14
"""Letters of a class name, beyond which it is wrapped."""
LONGEST_NAME, LONGEST_TITLE = 40, 200
"""Letters of a class name in one line, and of the title, beyond which they are cut off."""


class ShownLatent(NamedTuple):
    """What is shown of one latent."""

    latent: int
    """Its index."""
    reference: str
    """The class whose mean its decoder column matches, one to one with the latents of the other rows."""
    cosine: float
    """With that mean."""
    tied: bool
    """Whether the latent is anchored to that class in this run."""
    images: Sequence[Path]
    """Files, by descending activation."""
    names: Sequence[str]
    """Their classes."""
    histogram: Sequence[tuple[str, int]]
    """Class and count of all its top samples, most frequent first."""


def figure_top_images(rows: Sequence[ShownLatent], images: int, title: str) -> Figure:
    """Draw one row a latent: its top images, and the histogram of the classes of its top samples.

    Parameters
    ----------
    rows
        The latents.
    images
        Images of each; a latent with fewer leaves places empty.
    title
        What was trained.

    Raises
    ------
    ValueError
        If an image cannot be read; the message names it.
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
                    # wrapped, or names run into one another
                    axes.set_title(_wrapped(row.names[j]), fontsize=5.5, pad=2)
            _draw_histogram(figure.add_subplot(grid[i, images]), row)
    return figure


def records(
    rows: Sequence[ShownLatent], top: TopSamples, paths: np.ndarray, labels: np.ndarray, names: Sequence[str]
) -> list[dict[str, object]]:
    """Return a row of a table for each top sample of each latent that is shown.

    Parameters
    ----------
    rows
        The latents.
    top
        Their top samples, in the same order.
    paths, labels
        Of all samples: the file of each, and its class.
    names
        Of the classes.
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
    shown = list(row.histogram[:CLASSES_SHOWN])
    rest = sum(count for _, count in row.histogram[CLASSES_SHOWN:])
    if rest:
        shown.append((f"{len(row.histogram) - CLASSES_SHOWN} more classes", rest))
    places = np.arange(len(shown))[::-1]
    colours = [PALETTE[3] if name == row.reference else PALETTE[0] for name, _ in shown]
    if rest:
        colours[-1] = GREY
    axes.barh(places, [count for _, count in shown], color=colours, height=0.7)
    axes.set_yticks(places, [in_figure(name, LONGEST_NAME) for name, _ in shown], fontsize=6)
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
