"""The base class of tables that read dictionaries of runs instead of their metrics."""

from sdlstudy.products.bench_table import BenchTable
from sdlstudy.settings.cells import Cell
from sdlstudy.settings.study import Study


class DictionaryTable(BenchTable):
    """A table of dictionaries without anchors."""

    def cells(self, study: Study) -> list[Cell]:
        return []

    def cells_without_metrics(self, study: Study) -> list[Cell]:
        return super().cells(study)
