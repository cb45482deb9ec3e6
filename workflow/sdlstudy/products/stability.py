"""The table of stability: how many latents dictionaries share that differ in their seeds only."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from sdlstudy.products.dictionary_table import DictionaryTable
from sdlstudy.settings.cells import Cell
from sdlstudy.settings.files import Files
from sdlstudy.settings.study import Study

if TYPE_CHECKING:
    import pandas as pd

    from sdlstudy.rendering.text_table import TextTable


class Stability(DictionaryTable):
    """Runs of the table of stability over seeds (docs/language-models.md); null for none."""

    keys = ("stability",)
    title = "Latents that dictionaries of several seeds share"
    # two n_q x n_q matrices of cosines: 2 GB at 16,384 latents
    memory = 4000
    minutes = 120

    def judged_on(self, study: Study) -> tuple[list[str], str]:
        # benches draw other features for each seed, so their dictionaries share nothing
        sources = [name for name, source in study.all_sources().items() if source.n_features is None]
        return sources, "a source whose samples all seeds share"

    def unsound(self, path: str, study: Study) -> Iterator[str]:
        for source, entry in self.entries().items():
            seeds = entry.seeds or study.seeds
            if len(seeds) < 2:
                yield f"{path}.runs.{source}: one seed ({seeds[0]}), expected two or more to compare"

    def inputs(self, files: Files) -> list[str]:
        return [files.model(cell) for cell in self.cells_without_metrics(files.study)]

    def rows(self, files: Files) -> "pd.DataFrame":
        """Return a row for each pair of seeds of a source and method, with the columns of `sdlcore.stability`."""
        import pandas as pd

        from sdlcore import stability
        from sdlcore.model.saving import load_model

        frames = []
        for source, entry in self.entries().items():
            for method in entry.methods:
                cells = [Cell(source, method, self.protocol, "none", s) for s in entry.seeds or files.study.seeds]
                pairs = stability({cell.seed: load_model(files.model(cell)) for cell in cells}).to_frame()
                pairs.insert(0, "source", source)
                pairs.insert(1, "method", method)
                frames.append(pairs)
        return pd.concat(frames)

    def text_table(self, rows: "pd.DataFrame") -> "TextTable":
        from sdlstudy.rendering.language import stability_text

        return stability_text(rows)
