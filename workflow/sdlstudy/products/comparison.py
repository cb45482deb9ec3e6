"""The comparison of methods at equal L0: one table for each ground, and a picture of all of them."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated

from annotated_types import MinLen

from sdlcore.evaluation.metric_names import mip_name, recovery_name
from sdlcore.evaluation.metrics import METRICS
from sdlcore.settings import Positive
from sdlstudy.products.bench_table import BenchTable, OnSource
from sdlstudy.products.product import Picture, Product
from sdlstudy.settings.cells import Cell
from sdlstudy.settings.fields import Identifier, Unique
from sdlstudy.settings.files import Files
from sdlstudy.settings.names import METHOD, PROTOCOL, unknown
from sdlstudy.settings.sources import Source
from sdlstudy.settings.study import Study

if TYPE_CHECKING:
    import pandas as pd

    from sdlstudy.rendering.text_table import TextTable

SHARED = "shared"
"""Column of a run's share of decoder columns that match a column of a run with another seed, at a cosine above
`SHARED_ABOVE`; the mean over other seeds."""
SHARED_ABOVE = 0.7


class Ground(OnSource):
    """A source of samples with an L0 that all methods should have there. The settings are the compared methods, how
    they train, and what ranks them."""

    source: Identifier | None = None
    """The source of the ground's samples; null for the source with the ground's name. Several grounds may share a
    source, each with its own L0."""
    protocol: Identifier | None = None
    """The protocol of the ground's trained methods, which sets their L0; null for the table's."""
    l0: Positive | None = None
    """The L0 that methods should have on this ground. A method that misses it by more than a quarter gets no rank. Null
    ranks all methods."""
    score: Identifier | None = None
    """The metric that ranks methods on this ground: a column of the comparison's tables that is better if higher, or if
    lower (docs/metrics.md). Null for the decoder's MIP on benches, and for FVU on other sources."""

    def scored_by(self, known_features: bool) -> str:
        """Return the metric that ranks methods on this ground."""
        return self.score or (mip_name("decoder") if known_features else "fvu")


class OnGround(BenchTable):
    """The table of methods on one ground of a comparison, with all columns."""

    title = "Methods at equal L0 on one ground"
    # two n_q x n_q matrices of cosines, and the dictionaries of all seeds
    memory = 4000
    minutes = 120
    columns = {
        recovery_name("decoder"): "recovery: decoder",
        mip_name("decoder"): "MIP: decoder",
        "detection_f1": "F1",
        "mcc": "MCC",
        "fvu": METRICS["fvu"].symbol,
        "l0": METRICS["l0"].symbol,
        "dead_fraction": METRICS["dead_fraction"].symbol,
        SHARED: f"shared: decoder above {SHARED_ABOVE:g}",
    }
    caption = (
        "Methods at about equal L0: means over seeds ± half the width of their 95 % t intervals. Recovery, MIP, F1 and "
        "MCC need known features. F1 is the mean over latents as detectors of the feature nearest to their decoder "
        "column, MCC the mean |cosine| of the best one-to-one assignment of latents to features. Shared is the share "
        "of decoder columns that match a column of a run with another seed, on sources whose samples all seeds share; "
        "its pairs of seeds overlap, so its interval is too narrow. "
        "Seconds are wall-clock times on one machine, where other jobs may have run at the same time."
    )

    runs: Annotated[Mapping[Identifier, Ground | None], MinLen(1)]
    """Ground -> the methods that are compared on it; null leaves a ground of another configuration file out. A ground
    is a source, or a source at one of several L0s."""

    def entries(self) -> Mapping[str, Ground]:
        return {source: entry for source, entry in self.runs.items() if entry is not None}

    def judged_on(self, study: Study) -> tuple[list[str], str]:
        return list(study.all_sources()), "a source"

    def source_of(self, name: str) -> str:
        return self.entries()[name].source or name

    def protocol_on(self, name: str) -> str:
        return self.entries()[name].protocol or self.protocol

    def unknown_names(self, path: str, study: Study) -> Iterator[str]:
        yield from super().unknown_names(path, study)
        for ground, entry in self.entries().items():
            at = f"{path}.runs.{ground}"
            yield from unknown(f"{at}.protocol", [self.protocol_on(ground)], study.protocols, PROTOCOL)
            if self.source_of(ground) in study.all_sources():
                scores = self.scores_on(study.source(self.source_of(ground)))
                yield from unknown(f"{at}.score", [entry.score or "fvu"], scores, "a score of runs on this source")

    def scores_on(self, source: Source) -> list[str]:
        """Return the columns that can rank methods on a source."""
        directed = [name for name in self.columns if name in METRICS and METRICS[name].better is not None]
        if source.n_features is not None:
            return directed
        # class means are references of recovery and MIP, but no features to detect
        return [
            name
            for name in directed
            if name in ("fvu", "dead_fraction") or (source.is_labelled and METRICS[name].matched is not None)
        ]

    def inputs(self, files: Files) -> list[str]:
        cells = self.cells(files.study)
        models = [files.model(cell) for cell in cells if _shared_by_seeds(files.study, cell.source)]
        return [*(file for cell in cells for file in files.measured(cell)), *models]

    def rows(self, files: Files) -> "pd.DataFrame":
        """Return a row for each run: ground, method, seed, `columns` and the columns of `costs`."""
        from sdlstudy.rendering.bench_tables import costs

        cells = self.cells(files.study)
        rows = super().rows(files).join(costs(files.run(cell) for cell in cells))
        shared = _shared_with_other_seeds(cells, files)
        rows[SHARED] = [shared.get(cell) for cell in cells]
        # a source may belong to several grounds
        rows["source"] = [ground for ground in self.entries() for _ in self.cells_on(ground, files.study)]
        return rows.rename(columns={"source": "ground"})

    def text_table(self, rows: "pd.DataFrame") -> "TextTable":
        from sdlstudy.rendering.bench_tables import interval_text

        return interval_text(self.columns, self.caption, rows.rename(columns={"ground": "source"}))


class Comparison(OnGround, Picture):
    """Which methods `snakemake comparison` compares at equal L0, and on which grounds (docs/training.md); null for
    none."""

    keys = ("comparison",)
    title = "Methods at equal L0"
    memory = 1000
    minutes = 5

    nulls: Annotated[list[Identifier], Unique] = []
    """Methods that are null baselines. They get no rank, and the picture shows them below the others."""

    def companions(self, study: Study) -> dict[str, Product]:
        return {
            _table_of(self.name, ground): OnGround(runs={ground: entry}, protocol=self.protocol)
            for ground, entry in self.entries().items()
        }

    def unknown_names(self, path: str, study: Study) -> Iterator[str]:
        yield from super().unknown_names(path, study)
        yield from unknown(f"{path}.nulls", self.nulls, study.methods, METHOD)

    def inputs(self, files: Files) -> list[str]:
        return [files.table(_table_of(self.name, ground)) for ground in self.entries()]

    def outputs(self, files: Files) -> list[str]:
        pictures = [files.figure(self.name, ending) for ending in ("png", "pdf")]
        return [files.table(self.name), files.table(f"{self.name}_runs"), files.table(self.name, "md"), *pictures]

    def text_table(self, rows: "pd.DataFrame") -> "TextTable":
        from sdlstudy.rendering.comparison import comparison_text

        return comparison_text(rows)

    def make(self, files: Files) -> None:
        import pandas as pd

        from sdlcore.storage.files import write_text
        from sdlstudy.rendering.comparison import comparison_table, figure_comparison
        from sdlstudy.results.tables import read_csv, write_csv

        entries = self.entries()
        scores = {
            ground: entry.scored_by(files.study.source(self.source_of(ground)).n_features is not None)
            for ground, entry in entries.items()
        }
        l0 = {ground: entry.l0 for ground, entry in entries.items()}
        runs = pd.concat([read_csv(file) for file in self.inputs(files)])
        table = comparison_table(runs, scores, self.nulls, l0)
        write_csv(files.table(f"{self.name}_runs"), runs)
        write_text(files.table(self.name, "md"), self.text_table(table).markdown())
        self.write(files, figure_comparison(table), table)


def _table_of(name: str, ground: str) -> str:
    return f"{name}_{ground}"


def _shared_by_seeds(study: Study, source: str) -> bool:
    """Return whether runs with different seeds see the same samples. Benches draw other features for each seed."""
    return study.source(source).n_features is None


def _shared_with_other_seeds(cells: list[Cell], files: Files) -> dict[Cell, float]:
    """Return the column `SHARED` of each run that has runs with other seeds and the same samples."""
    from dataclasses import replace

    from sdlcore import stability
    from sdlcore.model.saving import load_model

    groups: dict[Cell, list[Cell]] = {}
    for cell in cells:
        if _shared_by_seeds(files.study, cell.source):
            groups.setdefault(replace(cell, seed=0), []).append(cell)
    mean_shares: dict[Cell, float] = {}
    for group in groups.values():
        if len(group) < 2:
            continue
        pairs = stability({cell.seed: load_model(files.model(cell)) for cell in group})
        for cell in group:
            shares = [pair.shared("decoder", SHARED_ABOVE) for pair in pairs if cell.seed in (pair.first, pair.second)]
            mean_shares[cell] = sum(shares) / len(shares)
    return mean_shares
