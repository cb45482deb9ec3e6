"""Figure 5: parents absorbed by their children."""

import logging
from typing import TYPE_CHECKING

from sdlstudy.products.bench_figure import BenchFigure, read_bench
from sdlstudy.settings.fields import Identifier, Names
from sdlstudy.settings.files import Files
from sdlstudy.settings.study import Study

if TYPE_CHECKING:
    import pandas as pd


class Figure5(BenchFigure):
    """Absorption of parents by their children, for each method."""

    keys = ("figures.figure5",)
    title = "Parents absorbed by their children"
    caption = (
        "The family of features that the first method absorbs most, with a latent for each feature, matched by "
        "decoder columns. Outlined pairs are absorbed: on the right a parent’s latent is silent or weak, on the left "
        "the child’s latent writes the parent’s direction instead. The score is close to the measure of Chanin et al. "
        "2024 (arXiv 2409.14507), with true directions instead of probes."
    )

    source: Identifier
    """A bench with a hierarchy."""
    methods: Names
    """Autoencoders, with as many latents as the bench has features or more."""
    protocol: Identifier = "best"

    def asks(self) -> tuple[str, str, list[str], str]:
        return self.source, "methods", self.methods, self.protocol

    def fitting(self, study: Study) -> tuple[list[str], str]:
        return [name for name, bench in study.sources.bench.items() if bench.hierarchy], "with hierarchy"

    def sentences(self, rows: "pd.DataFrame", study: Study) -> list[str]:
        from sdlstudy.rendering.sentences import figure5_sentences

        return figure5_sentences(rows, study.sources.bench[self.source])

    def make(self, files: Files) -> None:
        import pandas as pd
        import torch

        from sdlcore.data.references import load_references
        from sdlcore.evaluation.absorption import absorption, absorption_score, families, match_latents
        from sdlcore.model.saving import load_model
        from sdlstudy.rendering.figure5 import Shown, family_of, figure5
        from sdlstudy.rendering.labels import label_method

        torch.set_num_threads(1)
        hierarchy = files.study.sources.bench[self.source].hierarchy
        assert hierarchy is not None, "a bench without hierarchy is refused before"
        cells = self.cells_without_metrics(files.study)
        pairs, families_of_runs = [], []
        for cell in cells:
            W = load_references(files.feature_matrix(cell.source, cell.seed)).W_p
            inputs, coefficients = read_bench(files.store(cell.source, cell.seed, "test"))
            model = load_model(files.model(cell))
            with torch.no_grad():
                latents = model.encode(torch.from_numpy(inputs)).numpy()
            decoder = model.W_dec.detach().numpy()
            matched = match_latents(decoder, W)
            run_families = families(latents[:, matched], coefficients, decoder[matched], W, hierarchy)
            families_of_runs.append([family._replace(latents=matched[family.latents]) for family in run_families])
            pairs.append(pd.DataFrame(absorption(latents[:, matched], coefficients, decoder[matched], W, hierarchy)))
        # show the family with most absorbed pairs in the first run, for all runs of that seed
        seed, parent = cells[0].seed, family_of(pairs[0])
        dictionaries = [
            Shown(
                name=f"{label_method(cell.method)}, seed {seed}",
                family=run_families[parent],
                pairs=rows[rows["parent"] == parent],
                score=absorption_score(rows),
            )
            for cell, run_families, rows in zip(cells, families_of_runs, pairs, strict=True)
            if cell.seed == seed
        ]
        frames = [
            rows.assign(method=cell.method, seed=cell.seed)[["method", "seed", *rows.columns]]
            for cell, rows in zip(cells, pairs, strict=True)
        ]
        self.write(files, figure5(dictionaries), pd.concat(frames))
        for cell, rows in zip(cells, pairs, strict=True):
            logging.info("%s, seed %s: absorption %.3f", cell.method, cell.seed, absorption_score(rows))
