"""The base class of tables that are not in the paper. A subclass defines columns and a caption."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, ClassVar

import pandas as pd
from annotated_types import MinLen

from sdlcore import paired_interval
from sdlcore.evaluation.metrics import METRICS
from sdlstudy.products.product import Product
from sdlstudy.rendering.labels import label_method
from sdlstudy.rendering.text_table import TextTable, interval, number
from sdlstudy.results.runs import costs, read_runs
from sdlstudy.settings.cells import Cell
from sdlstudy.settings.fields import Identifier, Names, Seeds, Settings
from sdlstudy.settings.files import Files
from sdlstudy.settings.names import KNOWN, METHOD, PROTOCOL, unknown
from sdlstudy.settings.study import Study

COSTS = {"latents": 0, "samples": 0, "seconds": 1}
"""Column of `sdlstudy.results.runs.costs` -> decimals of its mean."""


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

    def rows(self, files: Files) -> pd.DataFrame:
        """Return a row for each run: source, method, seed and `columns`; NaN for metrics that a run lacks."""
        runs = read_runs(files.metrics(cell) for cell in self.cells(files.study))
        return runs.reindex(columns=["source", "method", "seed", *self.columns])

    def text_table(self, rows: pd.DataFrame) -> TextTable:
        """Return means over seeds. If a metric is missing for one of the seeds, its cell is a dash."""

        def means(runs: pd.DataFrame) -> list[str]:
            return [
                number(float(runs[metric].mean(skipna=False)), METRICS[metric].digits + (metric in self.finer))
                for metric in self.columns
            ]

        return text_by_method(self.columns.values(), self.caption, rows, means)


class CostedTable(BenchTable):
    """A table of means over seeds ± half the width of their 95 % t intervals, and of the costs of runs."""

    def inputs(self, files: Files) -> list[str]:
        return [file for cell in self.cells(files.study) for file in files.measured(cell)]

    def rows(self, files: Files) -> pd.DataFrame:
        return super().rows(files).join(costs(files.run(cell) for cell in self.cells(files.study)))

    def text_table(self, rows: pd.DataFrame) -> TextTable:
        def cells(runs: pd.DataFrame) -> list[str]:
            texts = []
            for metric in self.columns:
                mean, _, high = paired_interval(runs[metric].to_numpy())
                texts.append(interval(mean, high, METRICS[metric].digits if metric in METRICS else 3))
            return texts + [number(float(runs[name].mean()), digits) for name, digits in COSTS.items()]

        return text_by_method([*self.columns.values(), *COSTS], self.caption, rows, cells)


class DictionaryTable(BenchTable):
    """A table of dictionaries without anchors, which reads the dictionaries instead of the metrics of runs."""

    def cells(self, study: Study) -> list[Cell]:
        return []

    def cells_without_metrics(self, study: Study) -> list[Cell]:
        return super().cells(study)

    def inputs(self, files: Files) -> list[str]:
        return [files.model(cell) for cell in self.cells_without_metrics(files.study)]


def text_by_method(
    heads: Iterable[str],
    caption: str,
    rows: pd.DataFrame,
    cells: Callable[[pd.DataFrame], list[str]],
    counted: str = "seeds",
) -> TextTable:
    """Return a table with one row for each source and method, which begins with their names and the number of runs.

    Parameters
    ----------
    heads
        Heads of the further columns.
    caption
        Caption of the table.
    rows
        The runs: source, method and numbers.
    cells
        Returns the further cells of a row, for its runs.
    counted
        Head of the number of runs.
    """
    texts = [
        [str(source), label_method(str(method)), str(len(runs)), *cells(runs)]
        for (source, method), runs in rows.groupby(["source", "method"], sort=False)
    ]
    return TextTable(caption, pd.DataFrame(texts, columns=["source", "method", counted, *heads]), 2)
