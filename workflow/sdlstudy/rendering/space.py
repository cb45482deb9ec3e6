"""Draw directions in three dimensions, for figures 4 and 8."""

from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from sdlstudy.rendering.figures import PALETTE

VIEW = (20.0, 35.0)
"""Elevation and azimuth in degrees."""
BEYOND = 1.22
"""Distance of a unit vector's name from the origin, along the vector."""


def colours_of(n: int) -> Any:
    """Return a colour for each of n features."""
    import seaborn

    return PALETTE if n <= len(PALETTE) else seaborn.color_palette("viridis", n)


def draw_features(axes: Any, features: np.ndarray, colours: Any) -> None:
    """Draw unit vectors (3 x n) as arrows with their names."""
    draw_arrows(axes, features, colours, 1.0)
    for d in range(features.shape[1]):
        place = BEYOND * features[:, d]
        axes.text(*place, f"$w_{{{d + 1}}}$", color=colours[d], ha="center", va="center", zorder=4)


def draw_arrows(axes: Any, directions: np.ndarray, colours: Any, length: float) -> None:
    """Draw arrows from the origin along the columns of a 3 x n matrix."""
    for d, direction in enumerate(directions.T):
        axes.quiver(0, 0, 0, *(length * direction), color=colours[d], linewidth=2.2, arrow_length_ratio=0.1, zorder=3)


def draw_sphere(axes: Any) -> None:
    """Draw the unit sphere as a faint net."""
    azimuth, polar = np.meshgrid(np.linspace(0, 2 * np.pi, 25), np.linspace(0, np.pi, 13))
    x, y, z = np.cos(azimuth) * np.sin(polar), np.sin(azimuth) * np.sin(polar), np.cos(polar)
    axes.plot_wireframe(x, y, z, color="0.88", linewidth=0.5, zorder=1)


def open_view(directions: np.ndarray) -> tuple[float, float]:
    """Return an elevation and azimuth such that no direction (3 x n, unit columns) points towards or away from the
    reader."""
    elevation = np.radians(VIEW[0])
    azimuths = np.arange(0.0, 360.0, 5.0)
    turned = np.radians(azimuths)
    flat = np.cos(elevation)
    towards = np.stack([flat * np.cos(turned), flat * np.sin(turned), np.full(len(turned), np.sin(elevation))], axis=1)
    worst = np.abs(towards @ directions).max(axis=1)
    return VIEW[0], float(azimuths[worst.argmin()])


def frame(axes: Any, points: np.ndarray, title: str, view: tuple[float, float] = VIEW) -> None:
    """Set the axes to a cube around the points (N x 3), so that angles are true to scale, and label them."""
    centre = (points.max(axis=0) + points.min(axis=0)) / 2
    reach = float((points.max(axis=0) - points.min(axis=0)).max()) / 2
    for d, name in enumerate("xyz"):
        getattr(axes, f"set_{name}lim")(centre[d] - reach, centre[d] + reach)
        getattr(axes, f"set_{name}label")(f"dimension {d + 1}", labelpad=-6, fontsize=8)
        getattr(axes, f"{name}axis").set_major_locator(MaxNLocator(4, prune="both"))
        axes.tick_params(axis=name, labelsize=7, pad=-2)
    axes.set_box_aspect((1, 1, 1), zoom=1.12)
    # draw by zorder, because sorting by depth would draw the sphere over arrows and labels
    axes.computed_zorder = False
    axes.view_init(*view)
    axes.set_title(title)
