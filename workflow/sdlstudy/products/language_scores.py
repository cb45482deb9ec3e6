"""The table of language scores: cross-entropy and KL divergence with dictionaries in a language model."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from sdlstudy.products.bench_table import BenchTable
from sdlstudy.settings.cells import setting_of
from sdlstudy.settings.files import Files
from sdlstudy.settings.study import Study

if TYPE_CHECKING:
    import pandas as pd

    from sdlstudy.rendering.text_table import TextTable


class LanguageScores(BenchTable):
    """Runs of the table of language scores (docs/language-models.md); null for none."""

    keys = ("language_scores",)
    title = "What dictionaries cost the language model"

    def judged_on(self, study: Study) -> tuple[list[str], str]:
        return list(study.sources.language), "a source under sources.language"

    def unsound(self, path: str, study: Study) -> Iterator[str]:
        for source, entry in self.entries().items():
            for method in entry.methods:
                # the pair of an imported dictionary is known only after it is opened
                has_known_pair = not study.methods[method].is_imported
                if has_known_pair and setting_of(study, source, method, self.protocol, "pair") == "crosscoder":
                    yield (
                        f"{path}.runs.{source}.methods: {method} is a crosscoder, which writes at several sites; "
                        "expected an autoencoder or a transcoder"
                    )

    def inputs(self, files: Files) -> list[str]:
        return [*super().inputs(files), *(files.language_losses(source) for source in self.entries())]

    def rows(self, files: Files) -> "pd.DataFrame":
        """Return a row for each run: source, method, seed, L0, FVU, and the losses with its dictionary."""
        import json
        from pathlib import Path

        import pandas as pd

        from sdlstudy.results.runs import read_runs

        cells = self.cells(files.study)
        runs = read_runs(files.metrics(cell) for cell in cells)[["source", "method", "seed", "l0", "fvu"]]
        losses = dict[str, Any]()
        for source in self.entries():
            losses |= json.loads(Path(files.language_losses(source)).read_text())["losses"]
        return runs.join(pd.DataFrame([losses[files.model(cell)] for cell in cells]))

    def text_table(self, rows: "pd.DataFrame") -> "TextTable":
        from sdlstudy.rendering.language import scores_text

        return scores_text(rows)
