"""Figure 8: the bench in three dimensions."""

import logging
from collections.abc import Iterator

from sdlstudy.products.bench_figure import read_bench
from sdlstudy.products.product import Product
from sdlstudy.settings.fields import Identifier
from sdlstudy.settings.files import Files
from sdlstudy.settings.names import unknown
from sdlstudy.settings.study import Study


class Figure8(Product):
    """The bench in three dimensions."""

    keys = ("figures.figure8",)
    title = "The bench in three dimensions"
    caption = (
        "Left: the true features on the unit sphere. Right: samples, which are sparse non-negative combinations of "
        "features and fill the cone between them; arrows point along the features. The one per cent of samples with "
        "the largest norms is outside the frame."
    )

    source: Identifier
    """A bench with n_p = 3."""

    def drawn(self, study: Study) -> Iterator[tuple[str, int]]:
        yield self.source, study.seeds[0]

    def unknown_names(self, path: str, study: Study) -> Iterator[str]:
        benches = [name for name, bench in study.sources.bench.items() if bench.n_p == 3]
        yield from unknown(f"{path}.source", [self.source], benches, "a source under sources.bench with n_p = 3")

    def inputs(self, files: Files) -> list[str]:
        seed = files.study.seeds[0]
        return [files.store(self.source, seed, "train"), files.feature_matrix(self.source, seed)]

    def outputs(self, files: Files) -> list[str]:
        return [files.figure(self.name), files.figure(self.name, "pdf")]

    def make(self, files: Files) -> None:
        from sdlcore.data.references import load_references
        from sdlstudy.rendering.figure8 import figure8
        from sdlstudy.rendering.figures import save_figure

        store, features = self.inputs(files)
        W, (samples, coefficients) = load_references(features).W_p, read_bench(store)
        save_figure(figure8(W, samples, coefficients), files.figure(self.name), files.figure(self.name, "pdf"))
        logging.info("figure 8 of %d features", W.shape[1])
