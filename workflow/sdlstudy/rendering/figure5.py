"""Draw Figure 5: parents absorbed by their children."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from sdlcore.evaluation.absorption import Family
from sdlstudy.rendering.figures import style

# a diverging and a sequential colour map, both readable with colour blindness
COSINES, RESPONSES = "RdBu_r", "cividis"


class Shown(NamedTuple):
    """One dictionary of the figure."""

    name: str
    """Method and seed."""
    family: Family
    """The directions and responses of the dictionary's latents for the family that is shown."""
    pairs: pd.DataFrame
    """The rows of `absorption` for that family."""
    score: float
    """The dictionary's absorption score over all families."""


def figure5(dictionaries: Sequence[Shown]) -> Figure:
    """Draw how dictionaries represent one family of features (the paper's figure 5, measured), a row of panels each.

    Returns
    -------
    Figure
        Left: cosines of the latents' decoder columns with the directions of parent and children. Right: mean responses
        of the latents to samples with a single active child, which makes the parent active too. Cells of absorbed pairs
        are outlined: on the right the parent's latent, which is silent or weak, and on the left the child's latent,
        which writes the parent's direction instead.
    """
    children = len(dictionaries[0].pairs)
    members = ["parent", *(f"child {i + 1}" for i in range(children))]
    highest = max(float(np.nanmax(dictionary.family.response, initial=0)) for dictionary in dictionaries)
    with style():
        figure = Figure(figsize=(8.8, 0.9 + (0.42 * (1 + children) + 1.2) * len(dictionaries)), layout="constrained")
        panels: Any = figure.subplots(len(dictionaries), 2, squeeze=False, width_ratios=[1 + children, children + 0.6])
        images = []
        for (direction_axes, response_axes), dictionary in zip(panels, dictionaries, strict=True):
            owners = [
                f"latent {latent} ({member}’s)"
                for latent, member in zip(dictionary.family.latents, members, strict=True)
            ]
            directions = _heat_map(direction_axes, dictionary.family.directions, COSINES, (-1, 1), members, owners)
            responses = _heat_map(response_axes, dictionary.family.response, RESPONSES, (0, highest), members[1:])
            images.append((directions, responses))
            absorbed = np.flatnonzero(dictionary.pairs["absorbed"].to_numpy())
            for child in map(int, absorbed):
                _outline(direction_axes, 1 + child, 0)
                _outline(response_axes, 0, child)
            direction_axes.set_title(
                f"{dictionary.name}\n{len(absorbed)} of {children} pairs absorbed (outlined)", loc="left"
            )
            response_axes.set_title(f"\nover all families: {dictionary.score:.2f} of the pairs", loc="left")
        panels[-1, 0].set_xlabel("true direction", fontsize=8)
        panels[-1, 1].set_xlabel("the only active child (the parent is active, too)", fontsize=8)
        figure.colorbar(images[0][0], ax=panels[:, 0], location="bottom", shrink=0.7, aspect=35).set_label(
            "cosine of a latent’s decoder column and the true direction", fontsize=8
        )
        figure.colorbar(images[0][1], ax=panels[:, 1], location="bottom", shrink=0.8, aspect=30).set_label(
            "its mean response (1: the child’s magnitude)", fontsize=8
        )
    return figure


def _heat_map(
    axes: Any,
    values: np.ndarray,
    colours: str,
    limits: tuple[float, float],
    columns: list[str],
    rows: Sequence[str] = (),
) -> Any:
    image = axes.imshow(values, cmap=colours, vmin=limits[0], vmax=limits[1], aspect="auto")
    axes.set_xticks(range(len(columns)), columns, fontsize=8)
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    for (row, column), value in np.ndenumerate(values):
        red, green, blue, _ = image.cmap(image.norm(value))
        ink = "black" if 0.3 * red + 0.59 * green + 0.11 * blue > 0.5 else "white"
        text = "" if np.isnan(value) else f"{value:.2f}".replace("-", "\u2212")
        axes.text(column, row, text, color=ink, ha="center", va="center", fontsize=8)
    return image


def _outline(axes: Any, row: int, column: int) -> None:
    # a white line inside a black line is visible on every colour of both maps
    place = (column - 0.45, row - 0.45)
    for colour, width in (("black", 4.0), ("white", 1.6)):
        axes.add_patch(Rectangle(place, 0.9, 0.9, fill=False, edgecolor=colour, linewidth=width, zorder=3))


def family_of(pairs: pd.DataFrame) -> int:
    """Return the parent of the family to show: the parent with most absorbed pairs, the first one among equals."""
    absorbed = pairs.groupby("parent")["absorbed"].sum()
    return int(absorbed.index[int(absorbed.to_numpy().argmax())])
