"""Figure 8: the Linear Representation Bench in three dimensions."""

from typing import Any

import numpy as np
import scipy.sparse
import seaborn
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from sdlcore.rendering.figures import GREY, PALETTE, style

# Points beyond this many hide one another.
SHOWN_SAMPLES = 1500
# Samples above this quantile of the norm would shrink all others to a blob; they are left out and counted.
NORM_QUANTILE = 0.99
VIEW = {"elev": 20, "azim": 35}


def figure8(features: np.ndarray, samples: np.ndarray, coefficients: scipy.sparse.csr_array) -> Figure:
    """Draw ground-truth features and samples of a bench with n_p = 3 (the paper's figure 8).

    Parameters
    ----------
    features
        W_p, 3 x n, unit columns.
    samples
        N x 3.
    coefficients
        N x n, what each sample is made of.

    Returns
    -------
    Figure
        Left the features as arrows on the unit sphere; right the first samples, coloured by largest feature.

    Raises
    ------
    ValueError
        If shapes do not fit.
    """
    if features.ndim != 2 or features.shape[0] != 3:
        raise ValueError(f"W_p has shape {features.shape}, expected 3 x n: figure 8 is of a bench with n_p = 3")
    if samples.shape[1:] != (3,) or coefficients.shape != (len(samples), features.shape[1]):
        raise ValueError(
            f"samples {samples.shape} and coefficients {coefficients.shape} do not fit W_p {features.shape}, "
            "expected N x 3 and N x n"
        )
    n = features.shape[1]
    colours = PALETTE if n <= len(PALETTE) else seaborn.color_palette("viridis", n)
    dense = coefficients[:SHOWN_SAMPLES].toarray()
    shown = samples[:SHOWN_SAMPLES]
    norms = np.linalg.norm(shown, axis=1)
    limit = np.quantile(norms, NORM_QUANTILE)
    inside, active = norms <= limit, dense.max(axis=1) > 0
    with style():
        figure = Figure(figsize=(8.6, 4.5))
        # Any, since matplotlib's types know only flat axes
        left: Any = figure.add_axes((0.0, 0.1, 0.5, 0.82), projection="3d")
        right: Any = figure.add_axes((0.5, 0.1, 0.5, 0.82), projection="3d")
        _sphere(left)
        _arrows(left, features, colours, 1.0)
        for d in range(n):
            left.text(
                *(1.22 * features[:, d]),
                f"$w_{{{d + 1}}}$",
                color=colours[d],
                ha="center",
                va="center",
                zorder=4,
            )
        chosen = inside & active
        dominant = dense.argmax(axis=1)
        right.scatter(
            *shown[chosen].T,
            c=[colours[d] for d in dominant[chosen]],
            s=7,
            alpha=0.55,
            linewidths=0,
            depthshade=False,
            zorder=2,
        )
        silent = inside & ~active
        right.scatter(*shown[silent].T, color=GREY, s=14, linewidths=0, depthshade=False, zorder=2)
        _arrows(right, features, colours, float(limit))
        _frame(left, np.array([[-1.0] * 3, [1.0] * 3]), f"Ground-truth features ($n$ = {n})")
        _frame(right, np.vstack([shown[inside], limit * features.T]), f"Data samples ({inside.sum()} shown)")
        handles: list[Any] = [
            Line2D(
                [],
                [],
                color=colours[d],
                marker="o",
                linestyle="",
                markersize=5,
                label=f"$w_{{{d + 1}}}$ largest",
            )
            for d in range(min(n, len(PALETTE)))
        ]
        if silent.any():
            label = f"no active feature ({silent.sum()}, at the origin)"
            handles.append(Line2D([], [], color=GREY, marker="o", linestyle="", markersize=5, label=label))
        figure.legend(handles=handles, loc="lower center", ncols=len(handles), handletextpad=0.2, columnspacing=1.4)
    return figure


def _arrows(axes: Any, features: np.ndarray, colours: Any, length: float) -> None:
    for d, direction in enumerate(features.T):
        axes.quiver(0, 0, 0, *(length * direction), color=colours[d], linewidth=2.2, arrow_length_ratio=0.1, zorder=3)


def _sphere(axes: Any) -> None:
    azimuth, polar = np.meshgrid(np.linspace(0, 2 * np.pi, 25), np.linspace(0, np.pi, 13))
    x, y, z = np.cos(azimuth) * np.sin(polar), np.sin(azimuth) * np.sin(polar), np.cos(polar)
    axes.plot_wireframe(x, y, z, color="0.88", linewidth=0.5, zorder=1)


def _frame(axes: Any, points: np.ndarray, title: str) -> None:
    """Set a cube around the points, so that angles are true, and name the axes."""
    centre = (points.max(axis=0) + points.min(axis=0)) / 2
    reach = float((points.max(axis=0) - points.min(axis=0)).max()) / 2
    for d, name in enumerate("xyz"):
        getattr(axes, f"set_{name}lim")(centre[d] - reach, centre[d] + reach)
        getattr(axes, f"set_{name}label")(f"dimension {d + 1}", labelpad=-6, fontsize=8)
        getattr(axes, f"{name}axis").set_major_locator(MaxNLocator(4, prune="both"))
        axes.tick_params(axis=name, labelsize=7, pad=-2)
    axes.set_box_aspect((1, 1, 1), zoom=1.12)
    # in the order of zorder: sorting by depth would lay the sphere over arrows and labels
    axes.computed_zorder = False
    axes.view_init(**VIEW)
    axes.set_title(title)
