"""Figure 4: zero loss without recovery."""

import logging
from typing import TYPE_CHECKING

from sdlstudy.products.bench_figure import BenchFigure, read_bench
from sdlstudy.settings.fields import Identifier
from sdlstudy.settings.files import Files
from sdlstudy.settings.study import Study

if TYPE_CHECKING:
    import pandas as pd


class Figure4(BenchFigure):
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

    def asks(self) -> tuple[str, str, list[str], str]:
        return self.source, "method", [self.method], self.protocol

    def fitting(self, study: Study) -> tuple[list[str], str]:
        return [name for name, bench in study.sources.bench.items() if bench.n_p == 3], "with n_p = 3"

    def sentences(self, rows: "pd.DataFrame", study: Study) -> list[str]:
        from sdlstudy.rendering.sentences import figure4_sentences

        return figure4_sentences(rows)

    def make(self, files: Files) -> None:
        import torch

        from sdlcore.data.references import load_references
        from sdlcore.evaluation.zero_loss import Solution
        from sdlcore.model.saving import load_model
        from sdlstudy.rendering.figure4 import Learned, figure4, figure4_rows, least_recovering
        from sdlstudy.rendering.labels import label_method

        torch.set_num_threads(1)
        cells = self.cells_without_metrics(files.study)
        features = [load_references(files.feature_matrix(cell.source, cell.seed)).W_p for cell in cells]
        solutions = []
        for cell, W in zip(cells, features, strict=True):
            inputs, coefficients = read_bench(files.store(cell.source, cell.seed, "test"))
            solutions.append(Solution.of(load_model(files.model(cell)), W, coefficients, inputs))
        best = least_recovering(solutions)
        model, seed = load_model(files.model(cells[best])), cells[best].seed
        learned = Learned(model.W_enc.detach().numpy(), model.W_dec.detach().numpy())
        title = f"{label_method(self.method)}, on {self.source}, seed {seed}"
        figure = figure4(features[best], learned, solutions[best], title)
        rows = figure4_rows({cell.seed: solution for cell, solution in zip(cells, solutions, strict=True)}, seed)
        self.write(files, figure, rows)
        for sentence in self.sentences(rows, files.study):
            logging.info("%s", sentence)
