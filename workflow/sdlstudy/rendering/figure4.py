"""Draw Figure 4: a loss near zero without recovery of the features."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import seaborn
from matplotlib.figure import Figure

from sdlcore.data.recovery_rule import TAU, recovered
from sdlcore.evaluation.recovery import Match, chance_recovery, normalise_rows
from sdlcore.evaluation.zero_loss import Solution
from sdlstudy.rendering.figures import PALETTE, style
from sdlstudy.rendering.space import draw_features, draw_sphere, frame, open_view

INK, FAINT = "0.15", "0.65"
# Positions of names along unit vectors. Latents and features differ, so that names of close directions stay apart.
NEARER, FARTHER = 1.14, 1.36


class Learned(NamedTuple):
    """The directions of n_q latents, drawn as unit vectors."""

    encoder: np.ndarray
    """n_q x 3: rows of W_E."""
    decoder: np.ndarray
    """n_q x 3: columns of W_D."""


def least_recovering(solutions: Sequence[Solution]) -> int:
    """Return the index of the trained dictionary that figure 4 shows.

    Among dictionaries with a loss near zero (`Solution.near_zero`), the figure shows the dictionary that
    recovers the fewest true features. If several recover equally few, it shows the dictionary whose rows and columns
    match the features worst, by the sum of each feature's best cosines. If no loss is near zero, it shows the
    dictionary with the smallest FVU.

    Raises
    ------
    ValueError
        If there are no dictionaries.
    """
    candidates = [i for i, solution in enumerate(solutions) if solution.near_zero]
    if not candidates:
        return min(range(len(solutions)), key=lambda i: solutions[i].fvu)

    def aligned(i: int) -> tuple[int, float]:
        solution = solutions[i]
        return sum(solution.recovered), float(solution.encoder.similarity.sum() + solution.decoder.similarity.sum())

    return min(candidates, key=aligned)


def figure4(features: np.ndarray, learned: Learned, solution: Solution, title: str) -> Figure:
    """Draw true features beside the directions that an autoencoder learned (the paper's figure 4).

    Parameters
    ----------
    features
        W_p, 3 x n, unit columns.
    learned
        The autoencoder's encoder rows and decoder columns.
    solution
        The autoencoder's loss and recovered features.
    title
        First line of the title: method, source and seed.

    Raises
    ------
    ValueError
        If W_p is not 3 x n, or encoder and decoder are not both n_q x 3.
    """
    if features.ndim != 2 or features.shape[0] != 3:
        raise ValueError(f"W_p has shape {features.shape}, expected 3 x n: figure 4 draws a bench with n_p = 3")
    shapes = [matrix.shape for matrix in learned]
    if shapes[0] != shapes[1] or shapes[0][1:] != (3,):
        raise ValueError(f"encoder has shape {shapes[0]} and decoder {shapes[1]}, expected n_q x 3 for both")
    n = features.shape[1]
    colours = PALETTE if n <= len(PALETTE) else seaborn.color_palette("viridis", n)
    unit = Learned(*map(normalise_rows, learned))
    view = open_view(np.hstack([features, unit.encoder.T, unit.decoder.T]))
    corners = np.array([[-1.0] * 3, [1.0] * 3])
    with style():
        figure = Figure(figsize=(10.2, 4.6))
        # Any, since matplotlib's type stubs lack three-dimensional axes
        panels: list[Any] = [figure.add_axes((i / 3, 0.15, 1 / 3 - 0.035, 0.66), projection="3d") for i in range(3)]
        for axes in panels:
            draw_sphere(axes)
        draw_features(panels[0], features, colours)
        frame(panels[0], corners, f"Ground-truth features ($n$ = {n})", view)
        _caption(panels[0], f"dashed in the other panels\n{_activity(solution)}")
        sides = ("Encoder rows", unit.encoder, solution.encoder), ("Decoder columns", unit.decoder, solution.decoder)
        for axes, (name, directions, match) in zip(panels[1:], sides, strict=True):
            _draw_learned(axes, directions, solution.silent)
            _draw_faintly(axes, features, colours)
            frame(axes, corners, f"{name} ($n_q$ = {len(directions)}), by number", view)
            _caption(axes, _cosines(match))
        figure.suptitle(f"{title}\n{_losses(solution)}", fontsize=10, x=0.02, ha="left")
    return figure


def _draw_learned(axes: Any, directions: np.ndarray, silent: np.ndarray) -> None:
    for i, direction in enumerate(directions):
        colour = FAINT if silent[i] else INK
        axes.quiver(0, 0, 0, *direction, color=colour, linewidth=1.8, arrow_length_ratio=0.1, zorder=3)
        axes.text(*(NEARER * direction), f"{i + 1}", color=colour, fontsize=8, ha="center", va="center", zorder=5)


def _draw_faintly(axes: Any, features: np.ndarray, colours: Any) -> None:
    for d, feature in enumerate(features.T):
        axes.plot(*np.outer(feature, (0.0, 1.0)), color=colours[d], linewidth=1.6, linestyle=(0, (3, 2)), zorder=2)
        name = f"$w_{{{d + 1}}}$"
        axes.text(*(FARTHER * feature), name, color=colours[d], fontsize=9, ha="center", va="center", zorder=4)


def _caption(axes: Any, text: str) -> None:
    axes.text2D(0.5, -0.12, text, transform=axes.transAxes, ha="center", va="top", fontsize=8)


def _losses(solution: Solution) -> str:
    return (
        f"loss {solution.loss:.1e}, {solution.fvu:.1e} of the variance; "
        f"of features one by one (eq. 13) {solution.approximate_loss:.1e}"
    )


def _cosines(match: Match) -> str:
    best = ", ".join(f"$w_{{{d + 1}}}$ {value:.2f}" for d, value in enumerate(match.similarity))
    n_recovered = int(recovered(match.similarity).sum())
    return f"best |cosine|: {best}\n{n_recovered} of {len(match.similarity)} recovered (above {TAU:g})"


def _activity(solution: Solution) -> str:
    silent = f", {solution.silent.sum()} never (grey)" if solution.silent.any() else ""
    return f"{solution.l0:.1f} latents are active in a sample{silent}"


def figure4_rows(solutions: Mapping[int, Solution], shown_seed: int) -> pd.DataFrame:
    """Return the numbers of figure 4, one row for each seed.

    Returns
    -------
    DataFrame
        Columns seed, shown, loss, fvu, approximate_loss, l0, near_zero, features (n), recovered_encoder and
        recovered_decoder (numbers of features), chance (number of features that as many random directions as latents
        recover on average), and each feature's best |cosine|, encoder_w1 and so on.
    """
    rows = []
    for seed, solution in solutions.items():
        encoder, decoder = solution.recovered
        n = len(solution.encoder.similarity)
        row: dict[str, float] = {"seed": seed, "shown": seed == shown_seed, "loss": solution.loss, "fvu": solution.fvu}
        row |= {"approximate_loss": solution.approximate_loss, "l0": solution.l0, "near_zero": solution.near_zero}
        row |= {"features": n, "recovered_encoder": encoder, "recovered_decoder": decoder}
        row["chance"] = n * chance_recovery(len(solution.silent), 3, TAU)
        for side, match in (("encoder", solution.encoder), ("decoder", solution.decoder)):
            row |= {f"{side}_w{d + 1}": value for d, value in enumerate(match.similarity)}
        rows.append(row)
    return pd.DataFrame(rows)
