"""Figure 8: the bench in three dimensions."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sdlstudy.products.product import Picture
from sdlstudy.rendering.figures import GREY, PALETTE, style
from sdlstudy.rendering.space import colours_of, draw_arrows, draw_features, draw_sphere, frame
from sdlstudy.settings.fields import Identifier
from sdlstudy.settings.files import Files
from sdlstudy.settings.study import Study

# Number of samples drawn. More points would hide one another.
SHOWN_SAMPLES = 1500
# Samples with norms above this quantile are left out, because they would shrink all others to a blob.
NORM_QUANTILE = 0.99


class Figure8(Picture):
    """The bench in three dimensions."""

    keys = ("figures.figure8",)
    title = "The bench in three dimensions"
    parts = ()
    caption = (
        "Left: the true features on the unit sphere. Right: samples, which are sparse non-negative combinations of "
        "features and fill the cone between them; arrows point along the features. The one per cent of samples with "
        "the largest norms is outside the frame."
    )

    source: Identifier
    """A bench with n_p = 3."""

    def drawn(self, study: Study) -> Iterator[tuple[str, int]]:
        yield self.source, study.seeds[0]

    def accepted_sources(self, study: Study) -> tuple[Iterable[str], str]:
        return benches_in_space(study)

    def inputs(self, files: Files) -> list[str]:
        seed = files.study.seeds[0]
        return [files.store(self.source, seed, "train"), files.feature_matrix(self.source, seed)]

    def frames(self, files: Files) -> dict[str, pd.DataFrame]:
        return {}

    def draw(self, rows: pd.DataFrame, files: Files) -> Figure:
        """Draw the features as arrows on the unit sphere, and the first samples, coloured by largest feature."""
        from sdlcore.data.references import load_references

        store, matrix = self.inputs(files)
        features, (samples, coefficients) = load_references(matrix).W_p, read_bench(store)
        n = features.shape[1]
        colours = colours_of(n)
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


def benches_in_space(study: Study) -> tuple[list[str], str]:
    """Return the benches with three dimensions, which can be drawn, and their description."""
    benches = [name for name, bench in study.sources.bench.items() if bench.n_p == 3]
    return benches, "a source under sources.bench with n_p = 3"


def read_bench(store: str) -> tuple[np.ndarray, scipy.sparse.csr_array]:
    """Read the samples of a bench, N x n_p (float32), and their coefficients, a sparse N x n.

    Raises
    ------
    ValueError
        If the store does not come from a bench.
    """
    from sdlcore.data.reading import ActivationStore

    with ActivationStore(store) as opened:
        features = opened.features()
        if features is None:
            raise ValueError(f"{store}: has no features, expected the store of a bench")
        return opened.read("input").astype("float32"), features
