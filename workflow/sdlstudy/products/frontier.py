"""The figure that shows where methods break: their recovery while one setting of a bench is varied at a time."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated

import pandas as pd
from annotated_types import MinLen
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from sdlstudy.products.bench_points import BenchPoint, source_with, with_benches
from sdlstudy.products.bench_tables import DECODER, solver_rows
from sdlstudy.products.product import AnyStudy, Picture
from sdlstudy.rendering.figures import GREY, PALETTE, style
from sdlstudy.rendering.labels import label_method, symbol
from sdlstudy.results.runs import last_row
from sdlstudy.settings.cells import Cell
from sdlstudy.settings.fields import Identifier, Names, Numbers, Seeds, Settings
from sdlstudy.settings.files import Files
from sdlstudy.settings.names import BENCH, unknown
from sdlstudy.settings.study import Study

COLOURS = [PALETTE[0], PALETTE[3], PALETTE[2], PALETTE[1]]
"""Colours of methods, in their order."""
ROWS = {
    DECODER: "recovered by the decoder\n(share, cosine above .9)",
    "found": "atoms or active latents\nby true features",
    "samples_taken": "samples that search\nor training took",
}
WIDE = 4.0
"""An axis is logarithmic if the ratio of its largest to its smallest number exceeds this."""


class Panel(Settings):
    """The values of a setting that is varied, and the methods run at each value."""

    values: Numbers
    """Values of the setting, in the order of the axis."""
    methods: Names | None = None
    """Methods of this panel; null for the methods of the figure."""


class Frontier(Picture):
    """Figure of where methods break: one panel for each setting of a bench that is varied (docs/solvers.md); null for
    none."""

    keys = ("frontier",)
    title = "Where methods break, one setting of a bench after the other"
    caption = (
        "Points are seeds, lines their medians. Dotted lines are the values of the bench that is varied. Sparsity is "
        "drawn as the probability that a feature is active. A sample counts each time that it is used."
    )

    source: Identifier
    """A bench."""
    methods: Names
    """Solvers, and trained methods to compare them with."""
    panels: Annotated[dict[str, Panel], MinLen(1)]
    """The settings of the bench that are varied. Each value makes a variant of the bench, named after it (lrb_n_1400),
    except the value that the bench has already."""
    seeds: Seeds | None = None
    """Seeds; null for the configuration's."""
    protocol: Identifier = "best"
    """The protocol of the trained methods."""

    def points(self, study: Study) -> list[BenchPoint]:
        """Return the points, panel by panel, each with the bench of its value."""
        return [
            BenchPoint(parameter, value, source_with(study, self.source, parameter, value))
            for parameter, panel in self.panels.items()
            for value in panel.values
        ]

    def runs(self, study: Study) -> list[tuple[BenchPoint, Cell]]:
        """Return the runs, point by point. A run that belongs to several points is listed at each."""
        return [
            (point, Cell(point.source, method, self.protocol, "none", seed))
            for point in self.points(study)
            for method in self.panels[point.parameter].methods or self.methods
            for seed in self.seeds or study.seeds
        ]

    def cells(self, study: Study) -> list[Cell]:
        return list(dict.fromkeys(cell for _, cell in self.runs(study)))

    def used(self, study: Study) -> Study:
        return super().used(study).with_source(self.source, study.source(self.source))

    def with_variants(self, study: AnyStudy) -> AnyStudy:
        return with_benches(study, self.source, self.points(study))

    def accepted_sources(self, study: Study) -> tuple[Iterable[str], str]:
        return study.sources.bench, BENCH

    def unknown_names(self, path: str, study: Study) -> Iterator[str]:
        yield from super().unknown_names(path, study)
        if (bench := study.bench(self.source)) is not None:
            numbers = [name for name, value in bench if type(value) in (int, float)]
            yield from unknown(f"{path}.panels", self.panels, numbers, f"a number of sources.bench.{self.source}")

    def inputs(self, files: Files) -> list[str]:
        return [file for cell in self.cells(files.study) for file in files.measured(cell)]

    def rows(self, files: Files) -> pd.DataFrame:
        """Return ``parameter``, ``value``, the columns of `solver_rows`, and ``samples_taken``, for each run and point.

        A sample counts each time that it is used. The number of samples used is the same on every machine, unlike
        seconds.
        """
        points, cells = zip(*self.runs(files.study), strict=True)
        table = solver_rows(cells, files)
        table.insert(0, "value", [point.value for point in points])
        table.insert(0, "parameter", [point.parameter for point in points])
        table["samples_taken"] = [int(last_row(Path(files.run(cell)))["samples"]) for cell in cells]
        return table

    def draw(self, rows: pd.DataFrame, files: Files) -> Figure:
        """Draw the decoder's recovery, latents per true feature, and samples taken; a column for each parameter."""
        base = files.study.sources.bench[self.source]
        table = rows.assign(found=rows["features_found"] / rows["n"])
        parameters, methods = list(table["parameter"].unique()), list(table["solver"].unique())
        with style():
            figure = Figure(figsize=(max(5.2, 2.3 * len(parameters) + 0.6), 6.2), layout="constrained")
            panels = figure.subplots(len(ROWS), len(parameters), sharex="col", sharey="row", squeeze=False)
            for column, parameter in enumerate(parameters):
                drawn = _on_axis(table[table["parameter"] == parameter])
                for row, quantity in enumerate(ROWS):
                    _draw(panels[row, column], drawn, quantity, methods)
                    panels[row, column].axvline(
                        _place(parameter, getattr(base, parameter)), color=GREY, linewidth=0.9, linestyle=":"
                    )
                _set_axis(panels[-1, column], drawn["x"], parameter)
            for row, (quantity, label) in enumerate(ROWS.items()):
                panels[row, 0].set_ylabel(label, fontsize=8)
                if quantity == "found" and _wide(table[quantity]):
                    panels[row, 0].set_yscale("log")
                if quantity != DECODER:
                    panels[row, 0].yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
            panels[-1, 0].set_ylim(bottom=0)
            panels[0, 0].set_ylim(-0.04, 1.04)
            handles, labels = panels[0, 0].get_legend_handles_labels()
            figure.legend(handles, labels, loc="outside lower center", ncols=len(methods), fontsize=8)
        return figure


def _place(parameter: str, value: float) -> float:
    return 1 - value if parameter == "sparsity" else value


def _on_axis(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(x=[_place(p, v) for p, v in zip(rows["parameter"], rows["value"], strict=True)])


def _wide(values: pd.Series) -> bool:
    positive = values[values > 0]
    return bool(len(positive)) and float(positive.max()) > WIDE * float(positive.min())


def _draw(axes: Axes, rows: pd.DataFrame, quantity: str, methods: Sequence[str]) -> None:
    for colour, method in zip(COLOURS * len(methods), methods, strict=False):
        chosen = rows[rows["solver"] == method]
        medians = chosen.groupby("x")[quantity].median()
        axes.plot(medians.index, medians, color=colour, linewidth=1.4, label=label_method(method))
        axes.plot(chosen["x"], chosen[quantity], color=colour, linestyle="none", marker="o", markersize=3.5)


def _set_axis(axes: Axes, x: pd.Series, parameter: str) -> None:
    labels = {"sparsity": "P(active)", "train_samples": "samples for training, N"}
    axes.set_xlabel(labels.get(parameter, symbol(parameter)))
    if (x > 0).all() and _wide(x) and parameter == "train_samples":
        axes.set_xscale("log")
        axes.set_xticks(sorted(x.unique()), [f"{value:g}" for value in sorted(x.unique())], fontsize=7, rotation=45)
        axes.minorticks_off()
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.tick_params(axis="x", labelsize=7)
