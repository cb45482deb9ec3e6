"""The figure of the cosine between encoder rows and features, beside the law sqrt(1 - n_p / n) for it."""

from collections.abc import Iterable, Iterator
from typing import Annotated, Any, NamedTuple

import numpy as np
import pandas as pd
from annotated_types import MinLen
from matplotlib.figure import Figure

from sdlstudy.products.product import AnyStudy, Product
from sdlstudy.rendering.labels import label_method
from sdlstudy.settings.cells import Cell, source_with
from sdlstudy.settings.fields import AsGiven, Identifier, Numbers, Seeds, Settings, Unique
from sdlstudy.settings.files import Files
from sdlstudy.settings.names import BENCH, METHOD, unknown
from sdlstudy.settings.study import Study
from sdlstudy.theory.encoder_law import gain, law, own_cosines, own_products, read_outs
from sdlstudy.theory.reading import Read, read

Some = Annotated[list[Annotated[float, AsGiven]], Unique]
N, NOISE = "n", "noise"
EXACT = "least squares"
"""Name of the read-outs of the true features in the column of methods."""
COLUMNS = ["parameter", "value", "method", "seed", "law", "deviation"]
"""First columns of the table; the fields of `Read` follow."""


class Where(Settings):
    """The values of n and of noise that a method runs at."""

    n: Some = []
    """Numbers of features, at the bench's own noise."""
    noise: Some = []
    """Amounts of noise, at the bench's own number of features."""
    seeds: Seeds | None = None
    """Seeds; null for the configuration's."""


class BenchPoint(NamedTuple):
    """A value of a bench's setting, and the name of the bench with this value."""

    parameter: str
    value: float
    source: str


class Law(Product):
    """Figure of the cosine between encoder rows and their features, over n and over noise (docs/inside-a-model.md)."""

    keys = ("law",)
    title = "How much an encoder row looks like its feature"
    caption = (
        "Each point is a run or the least-squares read-out of the true features; black lines are the law. Left: the "
        "cosine of encoder rows with their feature over the number of features. Middle: the inner product of all "
        "encoder rows whose latents decode a feature with it; the dotted line is the law for encoders that are fitted "
        "where the feature is active. Right: the cosine over noise, relative to a sample's size."
    )
    evaluated = False
    memory = 2000
    minutes = 15

    source: Identifier
    """The bench that is varied."""
    protocol: Identifier = "best"
    """The protocol of the trained methods."""
    n: Numbers
    """Numbers of features at which to compute the least-squares read-out of the true features."""
    noise: Numbers
    """Amounts of noise at which to compute the least-squares read-out of the true features."""
    runs: Annotated[dict[Identifier, Where], MinLen(1)]
    """Autoencoders, trained or from solvers, each with the values that it runs at. Each value makes a variant of the
    bench, named after it (lrb_n_1400), except the value that the bench has already."""

    def runs_at_points(self, study: Study) -> list[tuple[BenchPoint, Cell]]:
        """Return the runs, point by point. A run that belongs to several points is listed at each."""
        return [
            (point, Cell(point.source, method, self.protocol, "none", seed))
            for method, where in self.runs.items()
            for parameter, values in ((N, where.n), (NOISE, where.noise))
            for point in (self.point(study, parameter, value) for value in values)
            for seed in where.seeds or study.seeds
        ]

    def matrices(self, study: Study) -> list[tuple[BenchPoint, int]]:
        """Return the points and seeds whose true features are read out. Noise changes no features, so all points of
        noise share the bench's features."""
        points = [self.point(study, N, n) for n in self.n]
        points += [BenchPoint(NOISE, noise, self.source) for noise in self.noise]
        return [(point, seed) for point in points for seed in study.seeds]

    def point(self, study: Study, parameter: str, value: float) -> BenchPoint:
        """Return the bench with one value, named after it (lrb_n_1400) unless the bench has the value already."""
        return BenchPoint(parameter, value, source_with(study, self.source, parameter, value))

    def points(self, study: Study) -> list[BenchPoint]:
        """Return the points whose benches are added to the study."""
        return [point for point, _ in (*self.matrices(study), *self.runs_at_points(study))]

    def with_variants(self, study: AnyStudy) -> AnyStudy:
        for parameter, value, source in self.points(study):
            if source not in study.sources.bench:
                varied = study.source(self.source).model_copy(update={parameter: value})
                study = study.with_source(source, varied)
        return study

    def drawn(self, study: Study) -> Iterator[tuple[str, int]]:
        yield from super().drawn(study)
        yield from ((point.source, seed) for point, seed in self.matrices(study))

    def cells(self, study: Study) -> list[Cell]:
        return list(dict.fromkeys(cell for _, cell in self.runs_at_points(study)))

    def accepted_sources(self, study: Study) -> tuple[Iterable[str], str]:
        return study.sources.bench, BENCH

    def unknown_names(self, path: str, study: Study) -> Iterator[str]:
        yield from super().unknown_names(path, study)
        yield from unknown(f"{path}.runs", self.runs, study.methods, METHOD)

    def unsound(self, path: str, study: Study) -> Iterator[str]:
        if noise := study.sources.bench[self.source].noise:
            yield f"{path}.source: {self.source} has noise {noise:g}, expected a bench without"

    def inputs(self, files: Files) -> list[str]:
        study = files.study
        paths = [files.feature_matrix(point.source, seed) for point, seed in self.matrices(study)]
        for _, cell in self.runs_at_points(study):
            paths += [files.model(cell), files.feature_matrix(cell.source, cell.seed)]
        return list(dict.fromkeys(paths))

    def rows(self, files: Files) -> pd.DataFrame:
        """Return a row for each read-out of true features and one for each run."""
        from sdlcore.data.references import load_references
        from sdlcore.model.saving import load_model

        study, rows = files.study, []
        bench = study.sources.bench[self.source]

        def add(point: BenchPoint, method: str, seed: int, read_out: Read) -> None:
            n, noise = (point.value, 0.0) if point.parameter == N else (bench.n, point.value)
            law_value = law(n, bench.n_p, noise**2)
            rows.append((point.parameter, point.value, method, seed, law_value, read_out.cosine - law_value, *read_out))

        for point, seed in self.matrices(study):
            W = load_references(files.feature_matrix(point.source, seed)).W_p.astype(np.float64)
            readers = read_outs(W, point.value**2 if point.parameter == NOISE else 0.0)
            cosine, product = (float(measure(readers, W).mean()) for measure in (own_cosines, own_products))
            alone = {"inner_product": product, "gain": product, "gain_together": product, "latents": 1.0}
            add(point, EXACT, seed, Read(cosine=cosine, cosine_together=cosine, **alone, decoder_recovers=1.0))
        for point, cell in self.runs_at_points(study):
            W = load_references(files.feature_matrix(cell.source, cell.seed)).W_p.astype(np.float64)
            model = load_model(files.model(cell))
            read_out = read(model.W_enc.detach().numpy(), model.W_dec.detach().numpy(), W)
            add(point, cell.method, cell.seed, read_out)
        return pd.DataFrame(rows, columns=[*COLUMNS, *Read._fields])

    def draw(self, rows: pd.DataFrame, files: Files) -> Figure:
        """Draw the cosine over n, the inner product over n, and the cosine over noise."""
        import seaborn

        bench = files.study.sources.bench[self.source]
        # the curve starts where n exceeds n_p, since the benches are overcomplete
        n, noise = np.arange(bench.n_p + 2, max(self.n) + 1), np.linspace(min(self.noise), max(self.noise), 201)
        tidy = rows.assign(method=["true features" if name == EXACT else label_method(name) for name in rows["method"]])
        figure = Figure(figsize=(10.4, 3.6), layout="constrained")
        panels: Any = figure.subplots(1, 3)
        curves = (
            (N, "cosine", n, [law(value, bench.n_p, 0.0) for value in n]),
            (N, "gain_together", n, [gain(value, bench.n_p, 0.0) for value in n]),
            (NOISE, "cosine", noise, [law(bench.n, bench.n_p, value**2) for value in noise]),
        )
        for axes, (parameter, quantity, x, y) in zip(panels, curves, strict=True):
            axes.plot(x, y, color="black", label="law")
            points = tidy[tidy["parameter"] == parameter]
            look = {"hue": "method", "style": "method", "palette": "colorblind", "legend": axes is panels[0]}
            seaborn.scatterplot(points, x="value", y=quantity, ax=axes, zorder=3, **look)
            label = "cosine of encoder row and feature" if quantity == "cosine" else "inner product of rows and feature"
            axes.set(xlabel=parameter, ylabel=label)
            axes.set_ylim(bottom=0)
        panels[1].plot(n, [gain(value, bench.n_p, 0.0, 1 - bench.sparsity) for value in n], ":", color="black")
        handles, labels = panels[0].get_legend_handles_labels()
        panels[0].get_legend().remove()
        figure.legend(handles, labels, loc="outside lower center", ncols=5, fontsize=8)
        return figure
