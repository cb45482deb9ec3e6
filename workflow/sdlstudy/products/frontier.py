"""The figure that shows where methods break: their recovery while one setting of a bench is varied at a time."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

from annotated_types import MinLen

from sdlstudy.products.bench_points import bench_with, missed, with_benches
from sdlstudy.products.product import AnyStudy, Picture
from sdlstudy.settings.cells import Cell
from sdlstudy.settings.fields import Identifier, Names, Numbers, Seeds, Settings
from sdlstudy.settings.files import Files
from sdlstudy.settings.names import BENCH, METHOD, PROTOCOL, unknown
from sdlstudy.settings.study import Study


class Panel(Settings):
    """The values of a setting that is varied, and the methods run at each value."""

    values: Numbers
    """Values of the setting, in the order of the axis."""
    methods: Names | None = None
    """Methods of this panel; null for the methods of the figure."""


class FrontierPoint(NamedTuple):
    """One value of a panel, and the methods run at it."""

    parameter: str
    value: float
    source: str
    """The variant of the bench with this value of the parameter."""
    methods: list[str]


class Frontier(Picture):
    """Figure of where methods break: one panel for each setting of a bench that is varied (docs/solvers.md); null for
    none."""

    keys = ("frontier",)
    title = "Where methods break, one setting of a bench after the other"

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

    def points(self, study: Study) -> list[FrontierPoint]:
        """Return the points, panel by panel, each with the bench of its value."""
        return [
            FrontierPoint(
                parameter,
                value,
                bench_with(study, self.source, parameter, value),
                panel.methods or self.methods,
            )
            for parameter, panel in self.panels.items()
            for value in panel.values
        ]

    def runs(self, study: Study) -> list[tuple[FrontierPoint, Cell]]:
        """Return the runs, point by point. A run that belongs to several points is listed at each."""
        return [
            (point, Cell(point.source, method, self.protocol, "none", seed))
            for point in self.points(study)
            for method in point.methods
            for seed in self.seeds or study.seeds
        ]

    def cells(self, study: Study) -> list[Cell]:
        return list(dict.fromkeys(cell for _, cell in self.runs(study)))

    def used(self, study: Study) -> Study:
        return super().used(study).with_source(self.source, study.source(self.source))

    def at_most(self, study: Study) -> int:
        seeds = len(self.seeds or study.seeds)
        return sum(len(panel.values) * len(panel.methods or self.methods) * seeds for panel in self.panels.values())

    def with_variants(self, study: AnyStudy) -> AnyStudy:
        return with_benches(study, self.source, self.points(study))

    def unknown_names(self, path: str, study: Study) -> Iterator[str]:
        yield from unknown(f"{path}.source", [self.source], study.sources.bench, BENCH)
        yield from unknown(f"{path}.protocol", [self.protocol], study.protocols, PROTOCOL)
        yield from unknown(f"{path}.methods", self.methods, study.methods, METHOD)
        bench = study.bench(self.source)
        for parameter, panel in self.panels.items():
            yield from unknown(f"{path}.panels.{parameter}.methods", panel.methods or [], study.methods, METHOD)
            if bench is not None:
                numbers = [name for name, value in bench if type(value) in (int, float)]
                expected = f"a number of sources.bench.{self.source}"
                yield from unknown(f"{path}.panels", [parameter], numbers, expected)

    def unsound(self, path: str, study: Study) -> Iterator[str]:
        for point, wrong in missed(study, self.points(study)):
            yield f"{path}.panels.{point.parameter}.values: {wrong}"

    def inputs(self, files: Files) -> list[str]:
        return [file for cell in self.cells(files.study) for file in files.measured(cell)]

    def make(self, files: Files) -> None:
        from sdlstudy.rendering.frontier import At, figure_frontier, frontier_table
        from sdlstudy.rendering.solvers_table import bench_facts

        study, runs = files.study, self.runs(files.study)
        at = [At(point.parameter, point.value, Path(files.run(cell))) for point, cell in runs]
        table = frontier_table(at, bench_facts(study, [cell.source for _, cell in runs]))
        figure = figure_frontier(table, study.sources.bench[self.source])
        self.write(files, figure, table)
