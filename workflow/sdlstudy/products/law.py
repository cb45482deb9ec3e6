"""The figure of the cosine between encoder rows and features, beside the law sqrt(1 - n_p / n) for it."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any

import numpy as np
import pandas as pd
from annotated_types import MinLen
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sdlstudy.products.bench_points import BenchPoint, source_with, with_benches
from sdlstudy.products.product import AnyStudy, Picture
from sdlstudy.rendering.figures import GREY, PALETTE, style
from sdlstudy.rendering.labels import label_method
from sdlstudy.settings.cells import Cell
from sdlstudy.settings.fields import AsGiven, Identifier, Numbers, Seeds, Settings, Unique
from sdlstudy.settings.files import Files
from sdlstudy.settings.names import BENCH, METHOD, unknown
from sdlstudy.settings.study import Study
from sdlstudy.theory.encoder_law import gain, law, own_cosines, own_products, read_outs
from sdlstudy.theory.reading import Read, nearest_ridge, read

Some = Annotated[list[Annotated[float, AsGiven]], Unique]
N, NOISE = "n", "noise"
EXACT = "least squares"
"""Name of the read-outs of the true features in the column of methods."""
COLUMNS = ["parameter", "value", "method", "seed", "law", "deviation"]
"""First columns of the table; the fields of `Read` follow."""
CURVES = ["parameter", "value", "cosine", "gain", "gain_active"]
INK = (0.1, 0.1, 0.1)
MARKERS = "osD^vP"


class Where(Settings):
    """The values of n and of noise that a method runs at."""

    n: Some = []
    """Numbers of features, at the bench's own noise."""
    noise: Some = []
    """Amounts of noise, at the bench's own number of features."""
    seeds: Seeds | None = None
    """Seeds; null for the configuration's."""


class Law(Picture):
    """Figure of the cosine between encoder rows and their features, over n and over noise (docs/inside-a-model.md)."""

    keys = ("law",)
    title = "How much an encoder row looks like its feature"
    caption = (
        "Each point is a run or the least-squares read-out of the true features; solid lines are the law. Left: the "
        "cosine of encoder rows with their feature over the number of features. Middle: the inner product of all "
        "encoder rows whose latents decode a feature with it. Right: the cosine over noise."
    )
    memory = 2000
    minutes = 15

    source: Identifier
    """A bench without noise."""
    n: Numbers
    """Numbers of features at which to compute the least-squares read-out of the true features."""
    noise: Numbers
    """Amounts of noise at which to compute the least-squares read-out of the true features."""
    runs: Annotated[dict[Identifier, Where], MinLen(1)]
    """Autoencoders, trained or from solvers, each with the values that it runs at. Each value makes a variant of the
    bench, named after it (lrb_n_1400), except the value that the bench has already."""
    protocol: Identifier = "best"
    """The protocol of the trained methods."""

    def points(self, study: Study, n: Sequence[float], noise: Sequence[float]) -> list[BenchPoint]:
        """Return the points at values of n and of noise, each with the bench of its value."""
        values = [(N, value) for value in n] + [(NOISE, value) for value in noise]
        return [BenchPoint(*pair, source_with(study, self.source, *pair)) for pair in values]

    def matrices(self, study: Study) -> list[tuple[BenchPoint, int]]:
        """Return the points and seeds whose true features are read out. Noise changes no features, so all points of
        noise share the bench's features."""
        points = self.points(study, self.n, ()) + [BenchPoint(NOISE, value, self.source) for value in self.noise]
        return [(point, seed) for point in points for seed in study.seeds]

    def laid_out(self, study: Study) -> list[tuple[BenchPoint, Cell]]:
        """Return the runs, point by point. A run that belongs to several points is listed at each."""
        return [
            (point, Cell(point.source, method, self.protocol, "none", seed))
            for method, where in self.runs.items()
            for point in self.points(study, where.n, where.noise)
            for seed in where.seeds or study.seeds
        ]

    def cells_without_metrics(self, study: Study) -> list[Cell]:
        return list(dict.fromkeys(cell for _, cell in self.laid_out(study)))

    def used(self, study: Study) -> Study:
        part = super().used(study).with_source(self.source, study.source(self.source))
        for point, _ in self.matrices(study):
            part = part.with_source(point.source, study.source(point.source))
        return part

    def with_variants(self, study: AnyStudy) -> AnyStudy:
        points = [point for point, _ in (*self.matrices(study), *self.laid_out(study))]
        return with_benches(study, self.source, points)

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
        for _, cell in self.laid_out(study):
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
            ridge, explained = nearest_ridge(readers, W)
            both = {"ridge": ridge, "explained": explained, "decoder_recovers": 1.0}
            add(point, EXACT, seed, Read(cosine=cosine, cosine_together=cosine, **alone, **both))
        for point, cell in self.laid_out(study):
            W = load_references(files.feature_matrix(cell.source, cell.seed)).W_p.astype(np.float64)
            model = load_model(files.model(cell))
            read_out = read(model.W_enc.detach().numpy(), model.W_dec.detach().numpy(), W)
            add(point, cell.method, cell.seed, read_out)
        return pd.DataFrame(rows, columns=[*COLUMNS, *Read._fields])

    def curves(self, study: Study) -> pd.DataFrame:
        """Return the law over n and over noise, with the columns `CURVES`."""
        bench = study.sources.bench[self.source]
        # the curve starts where n exceeds n_p, since the benches are overcomplete
        sizes = np.arange(bench.n_p + 2, max(self.n) + 1)
        noises = np.linspace(min(self.noise), max(self.noise), 201)
        places = [(N, n, float(n), 0.0) for n in sizes] + [(NOISE, t, float(bench.n), float(t) ** 2) for t in noises]
        rows = [
            (parameter, value, law(n, bench.n_p, t), gain(n, bench.n_p, t), gain(n, bench.n_p, t, 1 - bench.sparsity))
            for parameter, value, n, t in places
        ]
        return pd.DataFrame(rows, columns=CURVES)

    def draw(self, rows: pd.DataFrame, files: Files) -> Figure:
        """Draw the cosine over n, the inner product over n, and the cosine over noise."""
        curves = self.curves(files.study)
        methods = [method for method in rows["method"].unique() if method != EXACT]
        looks: dict[str, dict[str, Any]] = {
            method: {"color": PALETTE[i % len(PALETTE)], "marker": MARKERS[i % len(MARKERS)]}
            for i, method in enumerate(methods)
        }
        looks[EXACT] = {"color": INK, "marker": "x"}
        with style():
            figure = Figure(figsize=(10.4, 3.9), layout="constrained")
            panels: Any = figure.subplots(1, 3)
            for axes, parameter, quantity in zip(
                panels, ("n", "n", "noise"), ("cosine", "gain_together", "cosine"), strict=True
            ):
                curve, points = (frame[frame["parameter"] == parameter] for frame in (curves, rows))
                axes.plot(curve["value"], curve["cosine" if quantity == "cosine" else "gain"], color=INK, linewidth=1.4)
                if quantity == "gain_together":
                    axes.plot(curve["value"], curve["gain_active"], color=INK, linewidth=1.2, linestyle=":")
                for method, look in looks.items():
                    _draw(axes, points[points["method"] == method], quantity, look)
                axes.set_xlabel("features, $n$" if parameter == "n" else "noise, relative to a sample's size")
                axes.set_ylim(0, None)
            panels[0].set_ylabel("cosine of encoder row and feature")
            panels[1].set_ylabel(
                "inner product of encoder rows and feature\n(all latents that decode it, columns of norm 1)"
            )
            panels[2].set_ylabel("cosine of encoder row and feature")
            handles = [
                Line2D([], [], color=INK, linewidth=1.4, label="law"),
                Line2D(
                    [], [], color=INK, linewidth=1.2, linestyle=":", label="law, fitted where the feature is active"
                ),
                *(
                    Line2D([], [], linestyle="none", markersize=5, label=_label(method), **_open(look))
                    for method, look in looks.items()
                ),
            ]
            figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=8)
        return figure


def _label(method: str) -> str:
    return "least squares, true features" if method == EXACT else label_method(method)


def _open(look: dict[str, Any]) -> dict[str, Any]:
    """Return the look of a hollow marker, which does not hide points below it."""
    return {"markerfacecolor": "none", "markeredgecolor": look["color"], "marker": look["marker"]}


def _draw(axes: Any, rows: pd.DataFrame, quantity: str, look: dict[str, Any]) -> None:
    axes.plot(rows["value"], rows[quantity], linestyle="none", markersize=5, zorder=3, **_open(look))
    means = rows.groupby("value")[quantity].mean().dropna()
    if look["marker"] != "x" and len(means) > 1:
        axes.plot(means.index, means, color=look["color"], linewidth=0.7, alpha=0.5)
    if rows[quantity].isna().any():
        missing = rows.loc[rows[quantity].isna(), "value"]
        axes.plot(missing, np.zeros(len(missing)), linestyle="none", color=GREY, marker=look["marker"], clip_on=False)
