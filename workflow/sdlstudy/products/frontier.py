"""The figure that shows where methods break: their recovery while one setting of a bench is varied at a time."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import pandas as pd
from annotated_types import MinLen
from matplotlib.figure import Figure

from sdlstudy.products.bench_points import BenchPoint, SweptBench
from sdlstudy.products.bench_tables import DECODER, solver_rows
from sdlstudy.rendering.figures import draw_lines
from sdlstudy.rendering.labels import label_method, symbol
from sdlstudy.results.runs import last_row
from sdlstudy.settings.cells import Cell
from sdlstudy.settings.fields import Names, Numbers, Seeds, Settings
from sdlstudy.settings.files import Files
from sdlstudy.settings.names import unknown
from sdlstudy.settings.study import Study


class Panel(Settings):
    """The values of a setting that is varied, and the methods run at each value."""

    values: Numbers
    """Values of the setting, in the order of the axis."""
    methods: Names | None = None
    """Methods of this panel; null for the methods of the figure."""


class Frontier(SweptBench):
    """Figure of where methods break: one panel for each setting of a bench that is varied (docs/solvers.md); null for
    none."""

    keys = ("frontier",)
    title = "Where methods break, one setting of a bench after the other"
    caption = "Lines are medians over seeds, bands contain all seeds. A sample counts each time that it is used."

    methods: Names
    """Solvers, and trained methods to compare them with."""
    panels: Annotated[dict[str, Panel], MinLen(1)]
    """The settings of the bench that are varied. Each value makes a variant of the bench, named after it (lrb_n_1400),
    except the value that the bench has already."""
    seeds: Seeds | None = None
    """Seeds; null for the configuration's."""

    def runs_at_points(self, study: Study) -> list[tuple[BenchPoint, Cell]]:
        return [
            (point, Cell(point.source, method, self.protocol, "none", seed))
            for parameter, panel in self.panels.items()
            for point in (self.point(study, parameter, value) for value in panel.values)
            for method in panel.methods or self.methods
            for seed in self.seeds or study.seeds
        ]

    def cells(self, study: Study) -> list[Cell]:
        return self.distinct_runs(study)

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
        points, cells = zip(*self.runs_at_points(files.study), strict=True)
        table = solver_rows(cells, files)
        table.insert(0, "value", [point.value for point in points])
        table.insert(0, "parameter", [point.parameter for point in points])
        table["samples_taken"] = [int(last_row(Path(files.run(cell)))["samples"]) for cell in cells]
        return table

    def draw(self, rows: pd.DataFrame, files: Files) -> Figure:
        """Draw the decoder's recovery, latents per true feature, and samples taken; a column for each parameter."""
        quantities = {
            "recovered by the decoder": rows[DECODER],
            "latents by true features": rows["features_found"] / rows["n"],
            "samples taken": rows["samples_taken"],
        }
        rows = rows.assign(parameter=rows["parameter"].map(symbol), method=rows["solver"].map(label_method))
        grid = draw_lines(
            {name: rows.assign(y=y) for name, y in quantities.items()},
            x="value",
            col="parameter",
            row="panel",
            marker="o",
            estimator="median",
            errorbar=("pi", 100),
            height=2.6,
            facet_kws={"sharex": "col", "sharey": "row", "margin_titles": True},
        )
        grid.set_titles(row_template="", col_template="{col_name}").set_axis_labels("", "")
        for axes, quantity in zip(grid.axes[:, 0], quantities, strict=True):
            axes.set_ylabel(quantity)
        figure: Figure = grid.figure
        return figure
