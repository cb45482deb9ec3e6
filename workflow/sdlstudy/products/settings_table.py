"""Table 3: the settings of a bench beside the paper's settings."""

from collections.abc import Iterable, Mapping

import pandas as pd

from sdlstudy.products.product import Product
from sdlstudy.rendering.text_table import TextTable
from sdlstudy.settings.fields import Identifier
from sdlstudy.settings.files import Files
from sdlstudy.settings.names import BENCH
from sdlstudy.settings.study import Study


class SettingsTable(Product):
    """The settings of a bench beside the paper's Table 3."""

    title = "The settings of a bench beside the paper's"
    caption = "Default parameters of the Linear Representation Bench: the paper's values and this run's."

    source: Identifier
    """A bench."""

    def accepted_sources(self, study: Study) -> tuple[Iterable[str], str]:
        return study.sources.bench, BENCH

    def inputs(self, files: Files) -> list[str]:
        return [files.of_paper(self.name)]

    def rows(self, files: Files) -> pd.DataFrame:
        """Return parameter, symbol, paper and ours, in the paper's order. Numbers are text: whole numbers as they are,
        others with four digits."""
        bench = files.study.sources.bench[self.source]
        ours = {
            "n": bench.n,
            "n_p": bench.n_p,
            "n/n_p": bench.n / bench.n_p,
            "N": bench.train_samples,
            "S": bench.sparsity,
            "M": bench.max_interference,
        }
        paper = pd.read_csv(files.of_paper(self.name), dtype=str).rename(columns={"default": "paper"})
        texts = {symbol: _text(value) for symbol, value in ours.items()}
        return paper.assign(ours=paper["symbol"].map(texts))[["parameter", "symbol", "paper", "ours"]]

    def text(self, frames: Mapping[str, pd.DataFrame], study: Study) -> TextTable:
        # numbers, where the rows were read from a file
        return TextTable(self.caption, frames[""].map(lambda cell: cell if isinstance(cell, str) else _text(cell)), 2)


def _text(value: float) -> str:
    return f"{int(value)}" if float(value).is_integer() else f"{value:.4g}"
