"""The table of stability: how many latents dictionaries share that differ in their seeds only."""

from collections.abc import Iterator

import pandas as pd

from sdlstudy.products.bench_table import DictionaryTable, text_by_method
from sdlstudy.rendering.text_table import TextTable, number
from sdlstudy.settings.cells import Cell
from sdlstudy.settings.files import Files
from sdlstudy.settings.study import Study


class Stability(DictionaryTable):
    """Runs of the table of stability over seeds (docs/language-models.md); null for none."""

    keys = ("stability",)
    title = "Latents that dictionaries of several seeds share"
    # two n_q x n_q matrices of cosines: 2 GB at 16,384 latents
    memory = 4000
    minutes = 120
    columns = {
        f"{side}_{part}": f"{side}: {head}"
        for side in ("decoder", "encoder")
        for part, head in (("0.7", "above .7"), ("0.9", "above .9"), ("mean", "mean cosine"))
    }
    caption = (
        "Latents that dictionaries share which differ in their seeds only: means over pairs of seeds (smallest to "
        "largest pair). Decoder columns are matched one to one so that the sum of their cosines is largest, and "
        "encoder rows likewise. The shares count matches with a cosine above .7 and .9 among all latents."
    )

    def judged_on(self, study: Study) -> tuple[list[str], str]:
        # benches draw other features for each seed, so their dictionaries share nothing
        sources = [name for name, source in study.all_sources().items() if source.n_features is None]
        return sources, "a source whose samples all seeds share"

    def unsound(self, path: str, study: Study) -> Iterator[str]:
        for source, entry in self.entries().items():
            seeds = entry.seeds or study.seeds
            if len(seeds) < 2:
                yield f"{path}.runs.{source}: one seed ({seeds[0]}), expected two or more to compare"

    def rows(self, files: Files) -> pd.DataFrame:
        """Return a row for each pair of seeds of a source and method, with the columns of `sdlcore.stability`."""
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

    def text_table(self, rows: pd.DataFrame) -> TextTable:
        """Return means over pairs of seeds, and the smallest and largest pair."""

        def cells(pairs: pd.DataFrame) -> list[str]:
            return [_mean_and_range(pairs[name]) for name in self.columns]

        return text_by_method(self.columns.values(), self.caption, rows, cells, counted="pairs")


def _mean_and_range(values: pd.Series) -> str:
    mean, low, high = (number(float(value), 3) for value in (values.mean(), values.min(), values.max()))
    return mean if len(values) == 1 else f"{mean} ({low} to {high})"
