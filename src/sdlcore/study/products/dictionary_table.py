"""The base class of tables that read dictionaries of runs instead of their metrics."""

from sdlcore.study.products.bench_table import BenchTable
from sdlcore.study.settings.cells import Cell
from sdlcore.study.settings.study import Study


class DictionaryTable(BenchTable):
    """A table of dictionaries without anchors."""

    def cells(self, study: Study) -> list[Cell]:
        return []

    def judged_here(self, study: Study) -> list[Cell]:
        return super().cells(study)
