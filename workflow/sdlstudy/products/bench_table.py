"""The base class of tables that are not in the paper. A subclass defines columns and a caption."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar

import pandas as pd
from annotated_types import MinLen

from sdlcore import paired_interval
from sdlcore.evaluation.metrics import METRICS
from sdlstudy.products.product import Product
from sdlstudy.rendering.labels import label_method
from sdlstudy.rendering.text_table import TextTable, interval
from sdlstudy.results.runs import read_runs
from sdlstudy.settings.cells import Cell
from sdlstudy.settings.fields import Identifier, Names, Seeds, Settings
from sdlstudy.settings.files import Files
from sdlstudy.settings.names import KNOWN, unknown
from sdlstudy.settings.study import Study


class OnSource(Settings):
    """The methods that run on a source, for a table that is not in the paper."""

    methods: Names
    """Solvers, and trained methods to compare them with."""
    seeds: Seeds | None = None
    """Seeds; null for the configuration's."""


class BySource(Product):
    """A product whose ``runs`` have an entry for each source, or null to leave a source of the default out."""

    runs: Mapping[Identifier, Any]

    def entries(self) -> Mapping[str, Any]:
        """Return the entries that are not null."""
        return {name: entry for name, entry in self.runs.items() if entry is not None}

    def source_of(self, name: str) -> str:
        """Return the source of an entry of `runs`."""
        return name

    def unknown_names(self, path: str, study: Study) -> Iterator[str]:
        yield from super().unknown_names(path, study)
        sources = [name for name in self.entries() if self.source_of(name) == name]
        yield from unknown(f"{path}.runs", sources, *self.accepted_sources(study))


class BenchTable(BySource):
    """A table that is not in the paper, of methods without anchors: means over seeds with their 95 % t intervals."""

    columns: ClassVar[Mapping[str, str]] = {}
    """Metric -> head of its column."""
    digits: ClassVar[Mapping[str, int]] = {}
    """Decimals of columns that differ from other tables."""

    runs: Annotated[Mapping[Identifier, OnSource | None], MinLen(1)]
    """Source -> the methods that run on it; null leaves a source of the default out."""
    protocol: Identifier = "best"
    """The protocol of the trained methods."""

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

    def protocol_on(self, name: str) -> str:
        """Return the protocol of the methods that are trained for an entry of `runs`."""
        return self.protocol

    def accepted_sources(self, study: Study) -> tuple[list[str], str]:
        return [name for name, source in study.all_sources().items() if source.n_features is not None], KNOWN

    def rows(self, files: Files) -> pd.DataFrame:
        """Return a row for each run: source, method, seed and `columns`; NaN for metrics that a run lacks."""
        runs = read_runs(files.metrics(cell) for cell in self.cells(files.study))
        return runs.reindex(columns=["source", "method", "seed", *self.columns])

    def text(self, frames: Mapping[str, pd.DataFrame], study: Study) -> TextTable:
        """Return a row for each source and method; a dash where a seed lacks the metric."""
        texts = []
        for (source, method), runs in frames[""].groupby(["source", "method"], sort=False):
            means = [self.summarise(runs[name], name) for name in self.columns]
            texts.append([str(source), label_method(str(method)), str(len(runs)), *means])
        heads = ["source", "method", "seeds", *self.columns.values()]
        return TextTable(self.caption, pd.DataFrame(texts, columns=heads), 2)

    def summarise(self, values: pd.Series, name: str) -> str:
        """Return the values of one column and method as text: their mean, and half the width of its interval."""
        digits = self.digits.get(name, METRICS[name].digits if name in METRICS else 3)
        mean, _, high = paired_interval(values.to_numpy(float))
        return interval(mean, high, digits)
