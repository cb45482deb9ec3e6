"""Tables that are not in the paper: their base classes, solvers, harder benches and language scores."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd
from annotated_types import MinLen

from sdlcore import paired_interval
from sdlcore.data.recovery_rule import TAU
from sdlcore.evaluation.metrics import METRICS
from sdlcore.solvers.settings import SolverConfig
from sdlstudy.products.product import Product
from sdlstudy.rendering.labels import label_method
from sdlstudy.rendering.text_table import TextTable, interval
from sdlstudy.results.runs import costs, read_runs
from sdlstudy.settings.cells import Cell
from sdlstudy.settings.fields import Identifier, Names, Seeds, Settings
from sdlstudy.settings.files import Files
from sdlstudy.settings.names import KNOWN, unknown
from sdlstudy.settings.study import Study

DECODER, ENCODER = "gt_recovery_decoder", "gt_recovery_encoder"
MEANS = "means over seeds ± half the width of their 95 % t intervals"


class OnSource(Settings):
    """The methods that run on a source, for a table that is not in the paper."""

    methods: Names
    """Solvers, and trained methods to compare them with."""
    seeds: Seeds | None = None
    """Seeds; null for the configuration's."""
    source: Identifier | None = None
    """The source; null for the source with the entry's name. Several entries may share a source."""
    protocol: Identifier | None = None
    """The protocol of the entry's trained methods; null for the table's."""


class BySource(Product):
    """A product whose ``runs`` have an entry for each source, or null to leave a source of the default out."""

    runs: Mapping[Identifier, Any]

    def entries(self) -> Mapping[str, Any]:
        """Return the entries that are not null."""
        return {name: entry for name, entry in self.runs.items() if entry is not None}

    def unknown_names(self, path: str, study: Study) -> Iterator[str]:
        yield from super().unknown_names(path, study)
        sources = [name for name, entry in self.entries().items() if getattr(entry, "source", None) is None]
        yield from unknown(f"{path}.runs", sources, *self.accepted_sources(study))


class BenchTable(BySource):
    """A table that is not in the paper, of methods without anchors: means over seeds with their 95 % t intervals."""

    columns: ClassVar[Mapping[str, str]] = {}
    """Metric -> head of its column."""
    digits: ClassVar[Mapping[str, int]] = {}
    """Decimals of columns that differ from other tables."""

    runs: Annotated[Mapping[Identifier, OnSource | None], MinLen(1)]
    """Source -> the methods that run on it; null leaves a source of the default out."""
    protocol: Identifier = "best"
    """The protocol of the trained methods."""

    def cells(self, study: Study) -> list[Cell]:
        return [cell for name in self.entries() for cell in self.cells_on(name, study)]

    def cells_on(self, name: str, study: Study) -> list[Cell]:
        """Return the runs of an entry of `runs`."""
        entry = self.entries()[name]
        return [
            Cell(entry.source or name, method, entry.protocol or self.protocol, "none", seed)
            for method in entry.methods
            for seed in entry.seeds or study.seeds
        ]

    def accepted_sources(self, study: Study) -> tuple[list[str], str]:
        return [name for name, source in study.all_sources().items() if source.n_features is not None], KNOWN

    def rows(self, files: Files) -> pd.DataFrame:
        """Return a row for each run: source (its entry's name), method, seed and `columns`; NaN for metrics that a run
        lacks."""
        runs = [self.read(self.cells_on(name, files.study), files).assign(source=name) for name in self.entries()]
        return pd.concat(runs, ignore_index=True).reindex(columns=["source", "method", "seed", *self.columns])

    def read(self, cells: Sequence[Cell], files: Files) -> pd.DataFrame:
        """Return a row for each run, with its metrics."""
        return read_runs(files.metrics(cell) for cell in cells)

    def text(self, frames: Mapping[str, pd.DataFrame], study: Study) -> TextTable:
        """Return a row for each source and method; a dash where a seed lacks the metric."""
        texts = []
        for (source, method), runs in frames[""].groupby(["source", "method"], sort=False):
            means = [self.summarise(runs[name], name) for name in self.columns]
            texts.append([str(source), label_method(str(method)), str(len(runs)), *means])
        heads = ["source", "method", "seeds", *self.columns.values()]
        return TextTable(self.caption, pd.DataFrame(texts, columns=heads), 2)

    def summarise(self, values: pd.Series, name: str) -> str:
        """Return the values of one column and method as text: their mean, and half the width of its interval."""
        digits = self.digits.get(name, METRICS[name].digits if name in METRICS else 3)
        mean, _, high = paired_interval(values.to_numpy(float))
        return interval(mean, high, digits)


class Solvers(BenchTable):
    """Runs of the table of solvers (docs/solvers.md); null for none."""

    keys = ("solvers",)
    title = "Solvers on benches and activations"
    columns = {
        "seconds": "seconds",
        DECODER: "recovery: decoder",
        ENCODER: "recovery: encoder",
        "features_found": "features found",
        "fvu": METRICS["fvu"].symbol,
        "l0": METRICS["l0"].symbol,
    }
    # solvers come close to full recovery and to zero error
    digits = {DECODER: 4, ENCODER: 4, "fvu": 4, "features_found": 0, "seconds": 1}
    caption = (
        f"Solvers, which are given neither the number of features nor their sparsity: {MEANS}. Recovery is the share "
        "of true features, or of class means for labelled samples, whose best cosine with decoder columns or encoder "
        f"rows exceeds {TAU:g}; it is empty for other activations. Seconds depend on the machine."
    )

    def accepted_sources(self, study: Study) -> tuple[list[str], str]:
        # true features are optional here: recovery stays empty without them
        return list(study.all_sources()), "a source"

    def inputs(self, files: Files) -> list[str]:
        return [file for cell in self.cells(files.study) for file in files.measured(cell)]

    def read(self, cells: Sequence[Cell], files: Files) -> pd.DataFrame:
        """Return a row for each run, with its metrics, the last seconds of its history, and features found.

        ``seconds`` include reading, solving or training, and the encoder, but not evaluation or the start of the
        process. ``features_found`` counts the atoms of a solver, or the latents of a dictionary that are not dead.
        """
        runs = super().read(cells, files).assign(**costs(files.run(cell) for cell in cells))
        solved = np.array([files.study.methods[cell.method].settings is SolverConfig for cell in cells])
        dead = runs["dead_fraction"].astype(float).fillna(0).mask(solved, 0)
        return runs.assign(features_found=(runs["latents"] * (1 - dead)).round().astype(int))


class Harder(BenchTable):
    """Runs of the table of benches that are harder than the paper's (docs/benches.md); null for none."""

    keys = ("harder",)
    title = "Methods on benches that are harder than the paper's"
    columns = {
        DECODER: "recovery: decoder",
        "gt_recovery_decoder_rarest": "recovery: decoder, rarest quarter",
        ENCODER: "recovery: encoder",
        "mip_decoder": "MIP: decoder",
        "fvu": METRICS["fvu"].symbol,
        "oracle_fvu": f"{METRICS['fvu'].symbol} of the true features",
        **{name: METRICS[name].symbol for name in ("l0", "splitting", "shrinkage", "absorption")},
    }
    caption = (
        f"Benches that are harder than the paper's: {MEANS}. Recovery is the share of true features whose best cosine "
        f"with decoder columns or encoder rows exceeds {TAU:g}. For features that decoder columns match, splitting is "
        "the number of latents per feature (1: not split), and shrinkage is the share of the coefficient that is lost "
        f"(0: none). Absorption is the {METRICS['absorption'].caption}, for benches with a hierarchy and dictionaries "
        "with as many latents as features."
    )


class LanguageScores(BenchTable):
    """Runs of the table of language scores (docs/language-models.md); null for none."""

    keys = ("language_scores",)
    title = "What dictionaries cost the language model"
    columns = {
        "l0": "L0",
        "fvu": METRICS["fvu"].symbol,
        "clean": "loss: clean",
        "spliced": "loss: spliced",
        "recovered_zero": "loss recovered: zero",
        "recovered_mean": "loss recovered: mean",
        "kl_spliced": "KL: spliced",
        "kl_recovered_zero": "KL recovered: zero",
        "kl_recovered_mean": "KL recovered: mean",
    }
    caption = (
        f"What dictionaries cost the language model, in nats a token over held-out contexts: {MEANS}. Loss: the "
        "cross-entropy of the next token, with the model as it is (clean) and with reconstructions in place of the "
        "activations (spliced). KL: the divergence KL(clean || spliced) of the next-token distributions. Zero ablation "
        "replaces the activations by zero, mean ablation by their mean. Recovered: 1 for the clean model, 0 for the "
        "ablated one. Compare dictionaries of about equal L0."
    )

    def accepted_sources(self, study: Study) -> tuple[list[str], str]:
        return list(study.sources.language), "a source under sources.language"

    def inputs(self, files: Files) -> list[str]:
        sources = dict.fromkeys(cell.source for cell in self.cells(files.study))
        return [*super().inputs(files), *map(files.language_losses, sources)]

    def rows(self, files: Files) -> pd.DataFrame:
        """Return a row for each run: source, method, seed, L0, FVU, and the losses with its dictionary."""
        cells = self.cells(files.study)
        runs = super().rows(files)[["source", "method", "seed", "l0", "fvu"]]
        losses = dict[str, Any]()
        for source in dict.fromkeys(cell.source for cell in cells):
            losses |= json.loads(Path(files.language_losses(source)).read_text())["losses"]
        return runs.join(pd.DataFrame([losses[files.model(cell)] for cell in cells]))
