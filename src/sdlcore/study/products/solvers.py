"""The table of solvers: recovery, error and seconds on benches and activations."""

from typing import TYPE_CHECKING

from sdlcore.study.products.bench_table import BenchTable
from sdlcore.study.settings.files import Files
from sdlcore.study.settings.study import Study

if TYPE_CHECKING:
    import pandas as pd

    from sdlcore.study.rendering.text_table import TextTable


class Solvers(BenchTable):
    """Runs of the table of solvers (docs/solvers.md); null for none."""

    keys = ("solvers",)
    title = "Solvers on benches and activations"

    def judged_on(self, study: Study) -> tuple[list[str], str]:
        # it has no need of true features
        return list(study.all_sources()), "a source"

    def inputs(self, name: str, files: Files) -> list[str]:
        return [file for cell in self.cells(files.study) for file in files.measured(cell)]

    def rows(self, name: str, files: Files) -> "pd.DataFrame":
        from sdlcore.study.rendering.solvers_table import bench_facts, solvers_table

        cells = self.cells(files.study)
        facts = bench_facts(files.study, [cell.source for cell in cells])
        return solvers_table([files.metrics(cell) for cell in cells], facts)

    def text_table(self, name: str, rows: "pd.DataFrame") -> "TextTable":
        from sdlcore.study.rendering.solvers_table import solvers_text

        return solvers_text(rows)
