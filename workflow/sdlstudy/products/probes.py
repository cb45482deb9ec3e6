"""The table of probes: how well few latents tell classes of documents, beside activations, PCA and null baselines."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

import numpy as np
import pandas as pd
from annotated_types import Ge, Le, MinLen

from sdlcore.random_streams import stream
from sdlcore.settings import Text
from sdlstudy.products.bench_table import DictionaryTable, OnSource
from sdlstudy.rendering.labels import label_method
from sdlstudy.rendering.text_table import TextTable, number
from sdlstudy.results.tables import LEVEL
from sdlstudy.settings.cells import Cell
from sdlstudy.settings.fields import Identifier, Unique
from sdlstudy.settings.files import Files
from sdlstudy.settings.study import Study

BASELINES = {
    "raw": "activations",
    "pca": "principal components",
    "null: directions": "random directions",
    "null: samples": "random samples",
}
"""Features that no training made -> their name in the table."""
RESAMPLES = 4000


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
    parts = ("", "runs")
    also_used: ClassVar[tuple[str, ...]] = ("cache",)
    caption = (
        "Probes: logistic regressions that separate one class of held-out documents from all others by k features of a "
        "document. AUC (.5 by chance), mean over classes and seeds, with 95 % intervals of a bootstrap over both. A "
        "document's features are means over its tokens; the k features are chosen on the documents that the probe is "
        "fitted to. Beyond the best baseline: the difference to activations, principal components, random directions "
        "or random samples, whichever has the best mean at this k, paired by class and seed."
    )

    runs: Annotated[Mapping[Identifier, Probed | None], MinLen(1)]
    """Source of a language model -> the methods probed on it; null leaves a source of the default out."""
    k: Annotated[list[Annotated[int, Ge(1), Le(10**6)] | None], MinLen(1), Unique] = [1, 4, 16, None]
    """Numbers of features that a probe reads; null for all."""

    def accepted_sources(self, study: Study) -> tuple[list[str], str]:
        return list(study.sources.language), "a source under sources.language"

    def inputs(self, files: Files) -> list[str]:
        return [*super().inputs(files), *(file for source in self.entries() for file in _judges(files, source))]

    def frames(self, files: Files) -> dict[str, pd.DataFrame]:
        runs = self.classifiers(files)
        return {"": summary(runs), "runs": runs}

    def classifiers(self, files: Files) -> pd.DataFrame:
        """Return a row for each classifier: source, seed, features, k, label, and how well it does."""
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

    def text(self, frames: Mapping[str, pd.DataFrame], study: Study) -> TextTable:
        """Return a column for each k, and a row for each kind of features.

        A second row for each dictionary shows its difference to the best baseline.
        """
        rows = frames[""]
        order = list(dict.fromkeys(rows["k"]))
        texts = []
        for (source, features), group in rows.groupby(["source", "features"], sort=False):
            by_k = group.set_index("k")
            name = BASELINES.get(str(features)) or label_method(str(features))
            texts.append([str(source), name, *(_cell(by_k.loc[k], "auc") for k in order)])
            if features not in BASELINES:
                cells = [f"{_cell(by_k.loc[k], 'beyond')}, {BASELINES[str(by_k.loc[k, 'baseline'])]}" for k in order]
                texts.append([str(source), f"{name}, beyond the best baseline", *cells])
        heads = ["source", "features", *(f"k = {k}" if k != "all" else "all" for k in order)]
        return TextTable(self.caption, pd.DataFrame(texts, columns=heads), 2)


def _judges(files: Files, source: str) -> tuple[str, str]:
    """Return the files of a source's held-out activations and of its text."""
    return files.store(source, 0, "test"), files.text(source)


def summary(runs: pd.DataFrame) -> pd.DataFrame:
    """Summarise classifiers over classes and seeds.

    Intervals are percentiles over resamples that draw classes and seeds, each with replacement (a crossed bootstrap).
    With few seeds they are somewhat too narrow; classes vary more than seeds.

    Parameters
    ----------
    runs
        A row for each classifier: source, seed, features, k, label, auc and balanced_accuracy.

    Returns
    -------
    DataFrame
        A row for each source, features and k: the numbers of classes and seeds, mean AUC with its 95 % interval, and
        mean balanced accuracy. For dictionaries also ``baseline``, the baseline with the best mean AUC at this k, and
        the mean difference ``beyond`` in AUC to it with its interval, paired by class and seed.
    """
    rows = []
    for (source, k), group in runs.groupby(["source", "k"], sort=False):
        scores = {
            str(features): its.pivot(index="seed", columns="label", values="auc").to_numpy(float)
            for features, its in group.groupby("features", sort=False)
        }
        accuracy = group.groupby("features")["balanced_accuracy"].mean()
        best = max((name for name in BASELINES if name in scores), key=lambda name: float(scores[name].mean()))
        seeds, classes = scores[best].shape
        drawn = _resamples(seeds, classes)
        for features, values in scores.items():
            mean, low, high = _interval(values, *drawn)
            row = {"source": source, "features": features, "k": k, "classes": classes, "seeds": seeds}
            row |= {"auc": mean, "auc_low": low, "auc_high": high, "balanced_accuracy": float(accuracy[features])}
            if features not in BASELINES:
                beyond, low, high = _interval(values - scores[best], *drawn)
                row |= {"baseline": best, "beyond": beyond, "beyond_low": low, "beyond_high": high}
            rows.append(row)
    return pd.DataFrame(rows)


def _cell(row: pd.Series, name: str) -> str:
    mean, low, high = (number(float(row[part]), 3) for part in (name, f"{name}_low", f"{name}_high"))
    return f"{mean} ({low} to {high})"


def _resamples(seeds: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return how much each seed and each class weighs in each resample."""
    rng = stream(0, "probes", "bootstrap")

    def weights(n: int) -> np.ndarray:
        return rng.multinomial(n, np.full(n, 1 / n), RESAMPLES) / n

    return weights(seeds), weights(classes)


def _interval(values: np.ndarray, of_seeds: np.ndarray, of_classes: np.ndarray) -> tuple[float, float, float]:
    """Return the mean of seeds x classes values and the ends of its interval over resamples."""
    means = np.einsum("rs,sc,rc->r", of_seeds, values, of_classes)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(values.mean()), float(low), float(high)
