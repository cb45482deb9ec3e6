"""The table of probes: how well few latents tell classes of documents, beside activations, PCA and null baselines."""

import logging
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar

from annotated_types import Ge, Le, MinLen

from sdlcore.settings import Text
from sdlcore.storage.files import write_text
from sdlstudy.products.bench_table import OnSource
from sdlstudy.products.dictionary_table import DictionaryTable
from sdlstudy.settings.cells import Cell
from sdlstudy.settings.fields import Identifier, Unique
from sdlstudy.settings.files import Files
from sdlstudy.settings.study import Study

if TYPE_CHECKING:
    import pandas as pd

    from sdlstudy.rendering.text_table import TextTable


class Probed(OnSource):
    """The methods whose dictionaries are probed on a source, and the classes of the source's documents."""

    label_column: Text
    """Key or column of the source's text that names the class of a document; null there means no class."""
    without: Annotated[list[Text], Unique] = []
    """Classes whose documents are left out."""


class Probes(DictionaryTable):
    """Runs of the table of probes (docs/language-models.md); null for none."""

    keys = ("probes",)
    title = "Probes of single latents, beside activations, PCA and null baselines"
    memory = 8000
    minutes = 120
    also_used: ClassVar[tuple[str, ...]] = ("cache",)

    runs: Annotated[Mapping[Identifier, Probed | None], MinLen(1)]
    """Source of a language model -> the methods probed on it; null leaves a source of the default out."""
    k: Annotated[list[Annotated[int, Ge(1), Le(10**6)] | None], MinLen(1), Unique] = [1, 4, 16, None]
    """Numbers of features that a probe reads; null for all."""

    def entries(self) -> Mapping[str, Probed]:
        return {source: entry for source, entry in self.runs.items() if entry is not None}

    def judged_on(self, study: Study) -> tuple[list[str], str]:
        return list(study.sources.language), "a source under sources.language"

    def unsound(self, path: str, study: Study) -> Iterator[str]:
        for source in self.entries():
            text = study.sources.language[source].text
            if text.startswith("dataset:") or text.endswith(".txt"):
                yield (
                    f"{path}.runs.{source}: classes are read from the source's text, but {text} is "
                    f"{'a data set of the hub' if text.startswith('dataset:') else 'plain text'}; "
                    "expected a .json, .jsonl or .parquet file, or a folder of such files"
                )

    def inputs(self, files: Files) -> list[str]:
        models = [files.model(cell) for cell in self.cells_without_metrics(files.study)]
        return [*models, *(file for source in self.entries() for file in _judges(files, source))]

    def outputs(self, files: Files) -> list[str]:
        return [files.table(self.name), files.table(f"{self.name}_runs"), files.table(self.name, "md")]

    def text_table(self, rows: "pd.DataFrame") -> "TextTable":
        from sdlstudy.rendering.language import probes_text

        return probes_text(rows)

    def make(self, files: Files) -> None:
        from sdlstudy.rendering.language import probes_table
        from sdlstudy.results.tables import write_csv

        runs = self.rows(files)
        table = probes_table(runs)
        write_csv(files.table(f"{self.name}_runs"), runs)
        write_csv(files.table(self.name), table)
        write_text(files.table(self.name, "md"), self.text_table(table).markdown())
        logging.info("%d rows from %d classifiers", len(table), len(runs))

    def rows(self, files: Files) -> "pd.DataFrame":
        """Return a row for each classifier: source, seed, features, k, label, and how well it does."""
        import pandas as pd

        from sdlcore import probe
        from sdlcore.data.reading import ActivationStore
        from sdlcore.extraction.text import read_labels
        from sdlcore.model.saving import load_model

        frames = []
        for source, entry in self.entries().items():
            store, text = _judges(files, source)
            labels = [None if str(label) in entry.without else label for label in read_labels(text, entry.label_column)]
            with ActivationStore(store) as samples:
                for seed in entry.seeds or files.study.seeds:
                    cells = {method: Cell(source, method, self.protocol, "none", seed) for method in entry.methods}
                    dictionaries = {method: load_model(files.model(cell)) for method, cell in cells.items()}
                    results = probe(dictionaries, samples, labels, k=self.k, seed=seed)
                    rows = [
                        result._asdict() | {"k": "all" if result.k is None else str(result.k)} for result in results
                    ]
                    frames.append(pd.DataFrame([{"source": source, "seed": seed} | row for row in rows]))
        return pd.concat(frames)


def _judges(files: Files, source: str) -> tuple[str, str]:
    """Return the files of a source's held-out activations and of its text."""
    return files.store(source, 0, "test"), files.text(source)
