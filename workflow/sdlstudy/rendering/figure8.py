"""Draw Figure 8: the bench in three dimensions."""

from typing import Any

import numpy as np
import scipy.sparse
import seaborn
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sdlstudy.rendering.figures import GREY, PALETTE, style
from sdlstudy.rendering.space import draw_arrows, draw_features, draw_sphere, frame

# Number of samples drawn. More points would hide one another.
SHOWN_SAMPLES = 1500
# Samples with norms above this quantile are left out, because they would shrink all others to a blob.
NORM_QUANTILE = 0.99


def figure8(features: np.ndarray, samples: np.ndarray, coefficients: scipy.sparse.csr_array) -> Figure:
    """Draw ground-truth features and samples of a bench with n_p = 3 (the paper's figure 8).

    Parameters
    ----------
    features
        W_p, 3 x n, unit columns.
    samples
        Samples, N x 3.
    coefficients
        Coefficients of each sample, N x n.

    Returns
    -------
    Figure
        Left the features as arrows on the unit sphere; right the first samples, coloured by largest feature.

    Raises
    ------
    ValueError
        If shapes are not as above.
    """
    if features.ndim != 2 or features.shape[0] != 3:
        raise ValueError(f"W_p has shape {features.shape}, expected 3 x n: figure 8 draws a bench with n_p = 3")
    if samples.shape[1:] != (3,) or coefficients.shape != (len(samples), features.shape[1]):
        raise ValueError(
            f"samples {samples.shape} and coefficients {coefficients.shape} do not fit W_p {features.shape}, "
            "expected N x 3 and N x n"
        )
    n = features.shape[1]
    colours = PALETTE if n <= len(PALETTE) else seaborn.color_palette("viridis", n)
    dense = coefficients[:SHOWN_SAMPLES].toarray()
    points = samples[:SHOWN_SAMPLES]
    norms = np.linalg.norm(points, axis=1)
    limit = np.quantile(norms, NORM_QUANTILE)
    inside, active = norms <= limit, dense.max(axis=1) > 0
    with style():
        figure = Figure(figsize=(8.6, 4.5))
        # Any, since matplotlib's type stubs lack three-dimensional axes
        left_axes: Any = figure.add_axes((0.0, 0.1, 0.5, 0.82), projection="3d")
        right_axes: Any = figure.add_axes((0.5, 0.1, 0.5, 0.82), projection="3d")
        draw_sphere(left_axes)
        draw_features(left_axes, features, colours)
        chosen = inside & active
        dominant = dense.argmax(axis=1)
        right_axes.scatter(
            *points[chosen].T,
            c=[colours[d] for d in dominant[chosen]],
            s=7,
            alpha=0.55,
            linewidths=0,
            depthshade=False,
            zorder=2,
        )
        silent = inside & ~active
        right_axes.scatter(*points[silent].T, color=GREY, s=14, linewidths=0, depthshade=False, zorder=2)
        draw_arrows(right_axes, features, colours, float(limit))
        frame(left_axes, np.array([[-1.0] * 3, [1.0] * 3]), f"Ground-truth features ($n$ = {n})")
        frame(right_axes, np.vstack([points[inside], limit * features.T]), f"Data samples ({inside.sum()} shown)")
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
