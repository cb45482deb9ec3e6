"""The base class of tables that are not in the paper. A subclass defines columns and a caption."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar

from annotated_types import MinLen

from sdlstudy.products.product import Product
from sdlstudy.settings.cells import Cell
from sdlstudy.settings.fields import Identifier, Names, Seeds, Settings
from sdlstudy.settings.files import Files
from sdlstudy.settings.names import KNOWN, METHOD, PROTOCOL, unknown
from sdlstudy.settings.study import Study

if TYPE_CHECKING:
    import pandas as pd

    from sdlstudy.rendering.text_table import TextTable


class OnSource(Settings):
    """The methods that run on a source, for a table that is not in the paper."""

    methods: Names
    """Solvers, and trained methods to compare them with."""
    seeds: Seeds | None = None
    """Seeds; null for the configuration's."""


class BenchTable(Product):
    """A table that is not in the paper, of methods without anchors."""

    columns: ClassVar[Mapping[str, str]] = {}
    """Metric -> head of its column."""
    finer: ClassVar[tuple[str, ...]] = ()
    """Metrics that are printed with one more decimal than in other tables."""

    runs: Annotated[Mapping[Identifier, OnSource | None], MinLen(1)]
    """Source -> the methods that run on it; null leaves a source of the default out."""
    protocol: Identifier = "best"
    """The protocol of the trained methods."""

    def entries(self) -> Mapping[str, OnSource]:
        """Return the sources that are not null, with the methods that run on each."""
        return {source: entry for source, entry in self.runs.items() if entry is not None}

    def cells(self, study: Study) -> list[Cell]:
        return [cell for name in self.entries() for cell in self.cells_on(name, study)]

    def cells_on(self, name: str, study: Study) -> list[Cell]:
        """Return the runs of an entry of `runs`."""
        entry = self.entries()[name]
        return [
            Cell(self.source_of(name), method, self.protocol_on(name), "none", seed)
            for method in entry.methods
            for seed in entry.seeds or study.seeds
        ]

    def source_of(self, name: str) -> str:
        """Return the source of an entry of `runs`."""
        return name

    def protocol_on(self, name: str) -> str:
        """Return the protocol of the methods that are trained for an entry of `runs`."""
        return self.protocol

    def at_most(self, study: Study) -> int:
        return sum(len(entry.methods) * len(entry.seeds or study.seeds) for entry in self.entries().values())

    def unknown_names(self, path: str, study: Study) -> Iterator[str]:
        yield from unknown(f"{path}.protocol", [self.protocol], study.protocols, PROTOCOL)
        sources, expected = self.judged_on(study)
        for name, entry in self.entries().items():
            source, at = self.source_of(name), f"{path}.runs.{name}"
            yield from unknown(f"{path}.runs" if source == name else f"{at}.source", [source], sources, expected)
            yield from unknown(f"{at}.methods", entry.methods, study.methods, METHOD)

    def judged_on(self, study: Study) -> tuple[list[str], str]:
        """Return the names of sources that the table accepts, and the requirement in words, for errors."""
        sources = [name for name, source in study.all_sources().items() if source.n_features is not None]
        return sources, KNOWN

    def outputs(self, files: Files) -> list[str]:
        return [files.table(self.name, ending) for ending in ("csv", "md")]

    def rows(self, files: Files) -> "pd.DataFrame":
        """Return a row for each run: source, method, seed and `columns`; NaN for metrics that an older run lacks."""
        from sdlstudy.results.runs import read_runs

        runs = read_runs(files.metrics(cell) for cell in self.cells(files.study))
        return runs.reindex(columns=["source", "method", "seed", *self.columns])

    def text_table(self, rows: "pd.DataFrame") -> "TextTable":
        from sdlstudy.rendering.bench_tables import bench_text

        return bench_text(self.columns, self.caption, rows, self.finer)

    def make(self, files: Files) -> None:
        from sdlcore.storage.files import write_text
        from sdlstudy.results.tables import write_csv

        rows = self.rows(files)
        write_csv(files.table(self.name), rows)
        write_text(files.table(self.name, "md"), self.text_table(rows).markdown())
