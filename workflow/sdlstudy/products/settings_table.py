"""Table 3: the settings of a bench beside the paper's settings."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from sdlcore.storage.files import write_text
from sdlstudy.products.product import Product, partial_study
from sdlstudy.settings.fields import Identifier
from sdlstudy.settings.files import Files
from sdlstudy.settings.names import BENCH, unknown
from sdlstudy.settings.study import Study

if TYPE_CHECKING:
    import pandas as pd

    from sdlstudy.rendering.text_table import TextTable


class SettingsTable(Product):
    """The settings of a bench beside the paper's Table 3."""

    title = "The settings of a bench beside the paper's"
    caption = "Default parameters of the Linear Representation Bench: the paper's values and this run's."

    source: Identifier
    """A bench."""

    def unknown_names(self, path: str, study: Study) -> Iterator[str]:
        yield from unknown(f"{path}.source", [self.source], study.sources.bench, BENCH)

    def used(self, study: Study) -> Study:
        return partial_study(study, {self.source}, set(), set(), set())

    def inputs(self, files: Files) -> list[str]:
        return [files.of_paper(self.name)]

    def outputs(self, files: Files) -> list[str]:
        return [files.table(self.name, ending) for ending in ("csv", "md", "tex")]

    def text_table(self, rows: "pd.DataFrame") -> "TextTable":
        from sdlstudy.rendering.text_table import TextTable

        return TextTable(self.caption, rows, 2)

    def make(self, files: Files) -> None:
        from sdlstudy.rendering.settings_table import settings_latex, settings_table
        from sdlstudy.results.tables import write_csv

        bench = files.study.sources.bench[self.source]
        ours = {
            "n": bench.n,
            "n_p": bench.n_p,
            "n/n_p": bench.n / bench.n_p,
            "N": bench.train_samples,
            "S": bench.sparsity,
            "M": bench.max_interference,
        }
        table = settings_table(ours, files.of_paper(self.name))
        write_csv(files.table(self.name), table)
        write_text(files.table(self.name, "md"), self.text_table(table).markdown())
        write_text(files.table(self.name, "tex"), settings_latex(table, self.caption, f"tab:{self.name}"))
