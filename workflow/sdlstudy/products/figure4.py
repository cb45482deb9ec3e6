"""Figure 4: zero loss without recovery."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from sdlcore.data.recovery_rule import TAU, recovered
from sdlcore.evaluation.recovery import Match, chance_recovery, normalise_rows
from sdlstudy.products.figure8 import benches_in_space, read_bench
from sdlstudy.products.product import Picture
from sdlstudy.rendering.figures import style
from sdlstudy.rendering.labels import label_method
from sdlstudy.rendering.space import colours_of, draw_features, draw_sphere, frame, open_view
from sdlstudy.settings.cells import Cell
from sdlstudy.settings.fields import Identifier
from sdlstudy.settings.files import Files
from sdlstudy.settings.study import Study

if TYPE_CHECKING:
    from sdlcore.evaluation.zero_loss import Solution

INK, FAINT = "0.15", "0.65"
# Positions of names along unit vectors. Latents and features differ, so that names of close directions stay apart.
NEARER, FARTHER = 1.14, 1.36


class Figure4(Picture):
    """Zero loss without recovery: true features beside the learned directions, for the seed that recovers fewest."""

    keys = ("figures.figure4",)
    title = "Zero loss without recovery, in three dimensions"
    caption = (
        "Ground-truth features, encoder rows and decoder columns at unit length, for the seed that recovers fewest "
        "features. Losses are on samples that training did not see. Few dimensions make a match by chance likely."
    )

    source: Identifier
    """A bench with n_p = 3."""
    method: Identifier
    """An autoencoder, with as many latents as features or more."""
    protocol: Identifier = "best"

    def cells_without_metrics(self, study: Study) -> list[Cell]:
        return [Cell(self.source, self.method, self.protocol, "none", seed) for seed in study.seeds]

    def accepted_sources(self, study: Study) -> tuple[Iterable[str], str]:
        return benches_in_space(study)

    def inputs(self, files: Files) -> list[str]:
        paths = []
        for cell in self.cells_without_metrics(files.study):
            features = files.feature_matrix(cell.source, cell.seed)
            paths += [files.model(cell), files.store(cell.source, cell.seed, "test"), features]
        return paths

    def rows(self, files: Files) -> pd.DataFrame:
        """Return the numbers of each seed.

        Columns: seed, shown, loss, fvu, approximate_loss, l0, near_zero, features (n), recovered_encoder and
        recovered_decoder (numbers of features), chance (number of features that as many random directions as latents
        recover on average), and each feature's best |cosine|, encoder_w1 and so on.
        """
        cells = self.cells_without_metrics(files.study)
        solutions = [_solution(cell, files) for cell in cells]
        shown = least_recovering(solutions)
        rows = []
        for i, (cell, solution) in enumerate(zip(cells, solutions, strict=True)):
            encoder, decoder = solution.recovered
            n = len(solution.encoder.similarity)
            row: dict[str, float] = {"seed": cell.seed, "shown": i == shown, "loss": solution.loss, "fvu": solution.fvu}
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
        cell = next(cell for cell in self.cells_without_metrics(files.study) if cell.seed == seed)
        model, solution = load_model(files.model(cell)), _solution(cell, files)
        features = load_references(files.feature_matrix(cell.source, cell.seed)).W_p
        title = f"{label_method(self.method)}, on {self.source}, seed {seed}"
        n = features.shape[1]
        colours = colours_of(n)
        encoder, decoder = (normalise_rows(W.detach().numpy()) for W in (model.W_enc, model.W_dec))
        view = open_view(np.hstack([features, encoder.T, decoder.T]))
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
            sides = ("Encoder rows", encoder, solution.encoder), ("Decoder columns", decoder, solution.decoder)
            for axes, (name, directions, match) in zip(panels[1:], sides, strict=True):
                _draw_learned(axes, directions, solution.silent)
                _draw_faintly(axes, features, colours)
                frame(axes, corners, f"{name} ($n_q$ = {len(directions)}), by number", view)
                _caption(axes, _cosines(match))
            figure.suptitle(f"{title}\n{_losses(solution)}", fontsize=10, x=0.02, ha="left")
        return figure


def _solution(cell: Cell, files: Files) -> "Solution":
    """Return the loss and the recovered features of a trained run."""
    import torch

    from sdlcore.data.references import load_references
    from sdlcore.evaluation.zero_loss import Solution
    from sdlcore.model.saving import load_model

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


def _losses(solution: "Solution") -> str:
    return (
        f"loss {solution.loss:.1e}, {solution.fvu:.1e} of the variance; "
        f"of features one by one (eq. 13) {solution.approximate_loss:.1e}"
    )


def _cosines(match: Match) -> str:
    best = ", ".join(f"$w_{{{d + 1}}}$ {value:.2f}" for d, value in enumerate(match.similarity))
    n_recovered = int(recovered(match.similarity).sum())
    return f"best |cosine|: {best}\n{n_recovered} of {len(match.similarity)} recovered (above {TAU:g})"


def _activity(solution: "Solution") -> str:
    silent = f", {solution.silent.sum()} never (grey)" if solution.silent.any() else ""
    return f"{solution.l0:.1f} latents are active in a sample{silent}"
