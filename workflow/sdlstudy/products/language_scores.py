"""The table of language scores: cross-entropy and KL divergence with dictionaries in a language model."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from sdlcore import paired_interval
from sdlcore.evaluation.metrics import METRICS
from sdlstudy.products.bench_table import BenchTable, text_by_method
from sdlstudy.rendering.text_table import TextTable, interval
from sdlstudy.results.runs import read_runs
from sdlstudy.settings.cells import setting_of
from sdlstudy.settings.files import Files
from sdlstudy.settings.study import Study


class LanguageScores(BenchTable):
    """Runs of the table of language scores (docs/language-models.md); null for none."""

    keys = ("language_scores",)
    title = "What dictionaries cost the language model"
    columns = {
        "l0": "L0",
        "fvu": METRICS["fvu"].symbol,
        "clean": "loss: clean",
        "spliced": "spliced",
        "recovered_zero": "loss recovered: zero",
        "recovered_mean": "mean",
        "kl_spliced": "KL: spliced",
        "kl_recovered_zero": "KL recovered: zero",
        "kl_recovered_mean": "mean",
    }
    caption = (
        "What dictionaries cost the language model, in nats a token over held-out contexts: means over seeds ± half "
        "the width of their 95 % t intervals. Loss: the cross-entropy of the next token, with the model as it is "
        "(clean) and with reconstructions in place of the activations (spliced). KL: the divergence KL(clean || "
        "spliced) of the next-token distributions. Zero ablation replaces the activations by zero, mean ablation by "
        "their mean. Recovered: 1 for the clean model, 0 for the ablated one. Compare dictionaries of about equal L0."
    )

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

    def rows(self, files: Files) -> pd.DataFrame:
        """Return a row for each run: source, method, seed, L0, FVU, and the losses with its dictionary."""
        cells = self.cells(files.study)
        runs = read_runs(files.metrics(cell) for cell in cells)[["source", "method", "seed", "l0", "fvu"]]
        losses = dict[str, Any]()
        for source in self.entries():
            losses |= json.loads(Path(files.language_losses(source)).read_text())["losses"]
        return runs.join(pd.DataFrame([losses[files.model(cell)] for cell in cells]))

    def text_table(self, rows: pd.DataFrame) -> TextTable:
        """Return means over seeds, with intervals from 3 seeds on."""

        def cells(runs: pd.DataFrame) -> list[str]:
            intervals = (paired_interval(runs[name].to_numpy(float)) for name in self.columns)
            digits = (1 if name == "l0" else 3 for name in self.columns)
            return [interval(mean, high, places) for (mean, _, high), places in zip(intervals, digits, strict=True)]

        return text_by_method(self.columns.values(), self.caption, rows, cells)
