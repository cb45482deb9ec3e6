"""Figures 4 and 8, in three dimensions: zero loss without recovery, and the bench."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sdlcore.data.recovery_rule import TAU, recovered
from sdlcore.evaluation.recovery import Match, chance_recovery, normalise_rows
from sdlstudy.products.product import Product
from sdlstudy.rendering.figures import PALETTE
from sdlstudy.rendering.labels import label_method
from sdlstudy.settings.cells import Cell
from sdlstudy.settings.fields import Identifier
from sdlstudy.settings.files import Files
from sdlstudy.settings.study import Study

if TYPE_CHECKING:
    import scipy.sparse

    from sdlstudy.theory.zero_loss import Solution

SHOWN_SAMPLES = 1500
"""Number of samples in figure 8. More points would hide one another."""
NORM_QUANTILE = 0.99
"""Samples with norms above this quantile are left out, because they would shrink all others to a blob."""
VIEW = (20.0, 35.0)
"""Elevation and azimuth in degrees."""
INK, FAINT = "0.15", "0.65"
# distances of names along unit vectors; latents and features differ, so that names of close directions stay apart
NEARER, FARTHER = 1.14, 1.3
CUBE = np.array([[-1.0] * 3, [1.0] * 3])


class InSpace(Product):
    """A picture of a bench with three dimensions."""

    source: Identifier
    """A bench with n_p = 3."""

    def accepted_sources(self, study: Study) -> tuple[list[str], str]:
        benches = [name for name, bench in study.sources.bench.items() if bench.n_p == 3]
        return benches, "a source under sources.bench with n_p = 3"


class Figure8(InSpace):
    """The bench in three dimensions."""

    keys = ("figures.figure8",)
    title = "The bench in three dimensions"
    parts = ()
    caption = (
        "Left: the true features on the unit sphere. Right: samples, which are sparse non-negative combinations of "
        "features and fill the cone between them; a sample has the colour of its largest feature, and is grey if none "
        "is active. The one per cent of samples with the largest norms is outside the frame."
    )

    def drawn(self, study: Study) -> Iterator[tuple[str, int]]:
        yield self.source, study.seeds[0]

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
        dense, points = coefficients[:SHOWN_SAMPLES].toarray(), samples[:SHOWN_SAMPLES]
        norms = np.linalg.norm(points, axis=1)
        limit = float(np.quantile(norms, NORM_QUANTILE))
        inside = norms <= limit
        of_sample = np.where(dense.max(axis=1) > 0, dense.argmax(axis=1), n)
        figure = Figure(figsize=(8.6, 4.3))
        left, right = panels_of(figure, 2)
        draw_sphere(left)
        draw_features(left, features, colours, 1.0)
        dots: Any = {"c": [[*colours, FAINT][d] for d in of_sample[inside]], "depthshade": False}
        right.scatter(*points[inside].T, s=7, alpha=0.55, linewidths=0, zorder=2, **dots)
        draw_features(right, features, colours, limit)
        frame(left, CUBE, f"Ground-truth features ($n$ = {n})")
        frame(right, np.vstack([points[inside], limit * features.T]), f"Data samples ({inside.sum()} shown)")
        return figure


class Figure4(InSpace):
    """Zero loss without recovery: true features beside the learned directions, for the seed that recovers fewest."""

    keys = ("figures.figure4",)
    title = "Zero loss without recovery, in three dimensions"
    caption = (
        "Ground-truth features, encoder rows and decoder columns at unit length, for the seed that recovers fewest "
        "features; grey latents are never active. Losses are on samples that training did not see. Few dimensions make "
        "a match by chance likely."
    )

    evaluated = False

    method: Identifier
    """An autoencoder, with as many latents as features or more."""
    protocol: Identifier = "best"

    def cells(self, study: Study) -> list[Cell]:
        return [Cell(self.source, self.method, self.protocol, "none", seed) for seed in study.seeds]

    def inputs(self, files: Files) -> list[str]:
        paths = []
        for cell in self.cells(files.study):
            features = files.feature_matrix(cell.source, cell.seed)
            paths += [files.model(cell), files.store(cell.source, cell.seed, "test"), features]
        return paths

    def rows(self, files: Files) -> pd.DataFrame:
        """Return the numbers of each seed.

        Columns: seed, shown, loss, fvu, approximate_loss, l0, near_zero, features (n), recovered_encoder and
        recovered_decoder (numbers of features), chance (number of features that as many random directions as latents
        recover on average), and each feature's best |cosine|, encoder_w1 and so on.
        """
        cells = self.cells(files.study)
        solutions = [_solution(cell, files) for cell in cells]
        examples = least_recovering(solutions)
        rows = []
        for i, (cell, solution) in enumerate(zip(cells, solutions, strict=True)):
            encoder, decoder = solution.recovered
            n = len(solution.encoder.similarity)
            row: dict[str, float] = {
                "seed": cell.seed,
                "shown": i == examples,
                "loss": solution.loss,
                "fvu": solution.fvu,
            }
            row |= {"approximate_loss": solution.approximate_loss, "l0": solution.l0, "near_zero": solution.near_zero}
            row |= {"features": n, "recovered_encoder": encoder, "recovered_decoder": decoder}
            row["chance"] = n * chance_recovery(len(solution.silent), 3, TAU)
            for side, match in (("encoder", solution.encoder), ("decoder", solution.decoder)):
                row |= {f"{side}_w{d + 1}": value for d, value in enumerate(match.similarity)}
            rows.append(row)
        return pd.DataFrame(rows)

    def draw(self, rows: pd.DataFrame, files: Files) -> Figure:
        """Draw true features beside the directions that the shown autoencoder learned (the paper's figure 4)."""
        from sdlcore.data.references import load_references
        from sdlcore.model.saving import load_model

        seed = int(rows.loc[rows["shown"], "seed"].iloc[0])
        cell = next(cell for cell in self.cells(files.study) if cell.seed == seed)
        model, solution = load_model(files.model(cell)), _solution(cell, files)
        features = load_references(files.feature_matrix(cell.source, cell.seed)).W_p
        colours = colours_of(features.shape[1])
        encoder, decoder = (normalise_rows(W.detach().numpy()) for W in (model.W_enc, model.W_dec))
        view = open_view(np.hstack([features, encoder.T, decoder.T]))
        losses = f"loss {solution.loss:.1e}, {solution.fvu:.1e} of the variance, {solution.l0:.1f} latents active"
        figure = Figure(figsize=(10.2, 4.6))
        panels = panels_of(figure, 3)
        draw_features(panels[0], features, colours, 1.0)
        frame(panels[0], CUBE, f"Ground-truth features ($n$ = {features.shape[1]})", view)
        sides = ("Encoder rows", encoder, solution.encoder), ("Decoder columns", decoder, solution.decoder)
        for axes, (name, directions, match) in zip(panels[1:], sides, strict=True):
            _draw_learned(axes, directions, solution.silent)
            for feature, colour in zip(features.T, colours, strict=False):
                axes.plot(*np.outer(feature, (0.0, 1.0)), color=colour, linewidth=1.6, linestyle="--", zorder=2)
            frame(axes, CUBE, f"{name} ($n_q$ = {len(directions)}), by number", view)
            axes.text2D(0.5, -0.12, _cosines(match), transform=axes.transAxes, ha="center", va="top", fontsize=8)
        for axes in panels:
            draw_sphere(axes)
        title = f"{label_method(self.method)}, on {self.source}, seed {seed}\n{losses}"
        figure.suptitle(title, fontsize=10, x=0.02, ha="left")
        return figure


def read_bench(store: str) -> "tuple[np.ndarray, scipy.sparse.csr_array]":
    """Read the samples of a bench, N x n_p (float32), and their coefficients, a sparse N x n."""
    from sdlcore.data.reading import ActivationStore

    with ActivationStore(store) as opened:
        features = opened.features()
        if features is None:
            raise ValueError(f"{store}: has no features, expected the store of a bench")
        return opened.read("input").astype("float32"), features


def _solution(cell: Cell, files: Files) -> "Solution":
    """Return the loss and the recovered features of a trained run."""
    import torch

    from sdlcore.data.references import load_references
    from sdlcore.model.saving import load_model
    from sdlstudy.theory.zero_loss import Solution

    torch.set_num_threads(1)
    inputs, coefficients = read_bench(files.store(cell.source, cell.seed, "test"))
    W = load_references(files.feature_matrix(cell.source, cell.seed)).W_p
    return Solution.of(load_model(files.model(cell)), W, coefficients, inputs)


def least_recovering(solutions: "Sequence[Solution]") -> int:
    """Return the index of the trained dictionary that figure 4 shows.

    Among dictionaries with a loss near zero (`Solution.near_zero`), the figure shows the dictionary that
    recovers the fewest true features. If several recover equally few, it shows the dictionary whose rows and columns
    match the features worst, by the sum of each feature's best cosines. If no loss is near zero, it shows the
    dictionary with the smallest FVU.
    """
    candidates = [i for i, solution in enumerate(solutions) if solution.near_zero]
    if not candidates:
        return min(range(len(solutions)), key=lambda i: solutions[i].fvu)

    def aligned(i: int) -> tuple[int, float]:
        solution = solutions[i]
        return sum(solution.recovered), float(solution.encoder.similarity.sum() + solution.decoder.similarity.sum())

    return min(candidates, key=aligned)


def _cosines(match: Match) -> str:
    best = ", ".join(f"$w_{{{d + 1}}}$ {value:.2f}" for d, value in enumerate(match.similarity))
    n_recovered = int(recovered(match.similarity).sum())
    return f"best |cosine|: {best}\n{n_recovered} of {len(match.similarity)} recovered (above {TAU:g})"


def colours_of(n: int) -> list[Any]:
    """Return a colour for each of n features."""
    return (PALETTE * (1 + n // len(PALETTE)))[:n]


def panels_of(figure: Figure, number: int) -> list[Any]:
    """Return three-dimensional axes side by side. Any, since matplotlib's type stubs lack them."""
    return [figure.add_axes((i / number, 0.14, 0.97 / number, 0.68), projection="3d") for i in range(number)]


def draw_features(axes: Any, features: np.ndarray, colours: Sequence[Any], length: float) -> None:
    """Draw unit vectors (3 x n) as arrows of some length with their names."""
    for d, (feature, colour) in enumerate(zip(features.T, colours, strict=True)):
        arrow: Any = {"color": colour, "linewidth": 2.2, "arrow_length_ratio": 0.1, "zorder": 3}
        axes.quiver(0, 0, 0, *(length * feature), **arrow)
        name = f"$w_{{{d + 1}}}$"
        axes.text(*(FARTHER * length * feature), name, color=colour, ha="center", va="center", zorder=4)


def _draw_learned(axes: Any, directions: np.ndarray, silent: np.ndarray) -> None:
    for i, direction in enumerate(directions):
        colour = FAINT if silent[i] else INK
        axes.quiver(0, 0, 0, *direction, color=colour, linewidth=1.8, arrow_length_ratio=0.1, zorder=3)
        axes.text(*(NEARER * direction), f"{i + 1}", color=colour, fontsize=8, ha="center", va="center", zorder=5)


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
