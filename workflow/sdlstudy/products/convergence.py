"""The figure of loss and recovery over seconds, for gradient training and solvers."""

import logging
from collections.abc import Iterator

from sdlstudy.products.product import Picture
from sdlstudy.settings.cells import Cell
from sdlstudy.settings.fields import Identifier, Names, Seeds
from sdlstudy.settings.files import Files
from sdlstudy.settings.names import BENCH, METHOD, PROTOCOL, unknown
from sdlstudy.settings.study import Study


class Convergence(Picture):
    """Loss and recovery over seconds, of trained methods and solvers without anchors.

    These runs write their recovery into each row of their histories.
    """

    keys = ("figures.convergence",)
    title = "Loss and recovery over seconds"
    caption = (
        "A line for each run, without anchors; recovery counts cosines above .9. Dashed lines are solvers, whose "
        "encoders are fitted at the end. Runs shared the machine’s cores, so seconds compare runs only roughly."
    )

    source: Identifier
    """A bench."""
    methods: Names
    protocols: Names = ["best"]
    seeds: Seeds | None = None
    """Seeds; null for the first seed of the configuration."""

    def cells_without_metrics(self, study: Study) -> list[Cell]:
        # solvers and imported dictionaries take no settings from protocols, so one protocol is enough for them
        cells = [
            Cell(self.source, method, self.protocols[0] if study.methods[method].is_given else protocol, "none", seed)
            for method in self.methods
            for protocol in self.protocols
            for seed in self.seeds or study.seeds[:1]
        ]
        return list(dict.fromkeys(cells))

    def watched(self, study: Study) -> list[Cell]:
        return self.cells_without_metrics(study)

    def at_most(self, study: Study) -> int:
        return len(self.methods) * len(self.protocols) * len(self.seeds or study.seeds)

    def unknown_names(self, path: str, study: Study) -> Iterator[str]:
        yield from unknown(f"{path}.source", [self.source], study.sources.bench, BENCH)
        yield from unknown(f"{path}.methods", self.methods, study.methods, METHOD)
        yield from unknown(f"{path}.protocols", self.protocols, study.protocols, PROTOCOL)

    def unsound(self, path: str, study: Study) -> Iterator[str]:
        for method in self.methods:
            if study.methods[method].has_codes:  # its history is its training's, without recovery
                start = study.methods[method].warm_start
                yield f"{path}.methods: {method} is codes by search and has no history of its own; list {start}"

    def inputs(self, files: Files) -> list[str]:
        return [files.history(cell) for cell in self.cells_without_metrics(files.study)]

    def make(self, files: Files) -> None:
        from sdlstudy.rendering.convergence import Course, course, figure_convergence
        from sdlstudy.results.tables import read_csv

        courses = []
        for cell in self.cells_without_metrics(files.study):
            protocol = None if files.study.methods[cell.method].is_given else cell.protocol
            courses.append(Course(cell.method, protocol, cell.seed, read_csv(files.history(cell))))
        rows = course(courses)
        self.write(files, figure_convergence(rows), rows)
        logging.info("%d runs", len(courses))
