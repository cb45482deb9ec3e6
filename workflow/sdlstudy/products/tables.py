"""Make Tables 1, 2 and 4 to 7, our runs beside the paper's numbers, and tables of a user's own sources."""

from collections.abc import Iterator
from typing import ClassVar

from sdlcore.storage.files import write_text
from sdlstudy.products.features import Features
from sdlstudy.products.overview import Overview
from sdlstudy.products.product import Product
from sdlstudy.products.run_table import OWN, RunTable
from sdlstudy.settings.files import Files
from sdlstudy.settings.study import Study

WITH_FEATURES = "table1"
"""The table with two further figures: its overview, and its dictionaries compared feature by feature."""


class Table(RunTable):
    """A table of runs on one source, beside the paper's numbers."""

    also_used: ClassVar[tuple[str, ...]] = ("tau",)

    def describe(self) -> str:
        swept = f" over {self.sweep.parameter}" if self.sweep else ""
        return f"{' and '.join(self.protocols)} runs on {self.source}{swept}: ours beside the paper's numbers"

    def companions(self, study: Study) -> dict[str, Product]:
        if self.name != WITH_FEATURES:
            return {}
        products = {"overview": Overview.of(self, study), "features": Features.of(self, study)}
        return {companion: product for companion, product in products.items() if product is not None}

    def inputs(self, files: Files) -> list[str]:
        metrics = [files.metrics(cell) for cell in self.cells(files.study)]
        return metrics if self.name.startswith(OWN) else [*metrics, files.numbers]

    def outputs(self, files: Files) -> list[str]:
        paths = [files.table(self.name, ending) for ending in ("csv", "md", "tex")]
        parts = ("effects", "runs") if self.name.startswith(OWN) else ("effects", "runs", "verdicts")
        paths += [files.table(f"{self.name}_{part}") for part in parts]
        return paths + ([files.figure(self.name, ending) for ending in ("png", "pdf")] if self.sweep else [])

    def beside(self, files: Files) -> list[str]:
        return [*super().beside(files), *self._of_sources(files)]

    def _of_sources(self, files: Files) -> Iterator[str]:
        """Yield the files that the table's sources write beside their stores."""
        for source in dict.fromkeys(self.sources(files.study)):
            if files.study.source(source).is_labelled:
                yield files.table(f"{source}_classes")
            if files.study.clip(source) is not None:
                yield from files.beside_images(source)

    def make(self, files: Files) -> None:
        from sdlstudy.products.captions import table_caption
        from sdlstudy.rendering.latex import latex
        from sdlstudy.rendering.markup import text_table
        from sdlstudy.rendering.sweeps import effects_over, runs_over, table_over
        from sdlstudy.results.runs import read_runs, unjudged
        from sdlstudy.results.tables import no_paper, read_csv, read_paper, write_csv
        from sdlstudy.results.verdicts import judge

        layout = self.layout(files.study)
        runs = read_runs((files.metrics(cell) for cell in self.cells(files.study)), files.study.tau)
        if self.name.startswith(OWN):  # a user's own source may have no classes
            paper, runs, verdicts = no_paper(), unjudged(runs), None
        else:
            numbers = read_csv(files.numbers)
            paper = read_paper(numbers, self.name)
            verdicts = judge(self.name, numbers, runs_over(runs, layout), files.study)
            write_csv(files.table(f"{self.name}_verdicts"), verdicts)
        rows = table_over(runs, paper, layout)
        caption = table_caption(self, files.study)
        write_csv(files.table(self.name), rows)
        write_csv(files.table(f"{self.name}_runs"), runs_over(runs, layout))
        write_csv(files.table(f"{self.name}_effects"), effects_over(runs, layout))
        write_text(files.table(self.name, "md"), text_table(rows, caption, verdicts).markdown())
        write_text(files.table(self.name, "tex"), latex(rows, caption, f"tab:{self.name}", verdicts))
        if self.sweep:
            from sdlstudy.rendering.figures import save_figure
            from sdlstudy.rendering.sweep_figure import figure_sweep

            save_figure(figure_sweep(rows), files.figure(self.name), files.figure(self.name, "pdf"))
