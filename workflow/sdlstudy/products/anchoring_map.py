"""The map of where anchoring helps, where it harms, and where the seeds cannot decide."""

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, NamedTuple

from annotated_types import MinLen

from sdlstudy.products.product import Picture
from sdlstudy.settings.cells import Cell
from sdlstudy.settings.fields import AnchoringName, Identifier, Names, Seeds, Settings, Unique
from sdlstudy.settings.files import Files
from sdlstudy.settings.names import METHOD, PROTOCOL, unknown
from sdlstudy.settings.study import Study

if TYPE_CHECKING:
    import pandas as pd

    from sdlstudy.rendering.text_table import TextTable


class Regimes(Settings):
    """The methods trained on a source, each with every anchoring and without anchors."""

    methods: Names
    """Methods; each is a row of the map."""
    protocol: Identifier = "best"
    """The protocol that the methods are trained with."""
    instead: dict[AnchoringName, AnchoringName] = {}
    """Column of the map -> the anchoring used for it on this source, such as one with other features."""


class AnchoredPair(NamedTuple):
    """A run with anchors, and the run without anchors that it is compared with."""

    column: str
    """The anchoring that heads the column of the map."""
    anchored: Cell
    plain: Cell
    """The same run without anchors."""


class AnchoringMap(Picture):
    """Map of where anchoring helps and where it harms, over sources, methods and anchorings (docs/paper.md); null for
    none."""

    keys = ("anchoring_map",)
    title = "Where anchoring helps and where it harms"
    alone = True

    runs: Annotated[dict[Identifier, Regimes | None], MinLen(1)]
    """Source -> the methods trained on it. A source needs true features or classes; null leaves it out."""
    anchorings: Annotated[list[AnchoringName], MinLen(1), Unique]
    """Anchorings, the columns of the map."""
    seeds: Seeds | None = None
    """Seeds; null for the configuration's."""

    def entries(self) -> dict[str, Regimes]:
        """Return the sources that are not null, with the methods trained on each."""
        return {source: entry for source, entry in self.runs.items() if entry is not None}

    def pairs(self, study: Study) -> list[AnchoredPair]:
        """Return each run with anchors beside the same run without, in the order of the map's rows."""
        return [
            AnchoredPair(
                column,
                Cell(source, method, entry.protocol, entry.instead.get(column, column), seed),
                Cell(source, method, entry.protocol, "none", seed),
            )
            for source, entry in self.entries().items()
            for method in entry.methods
            for column in self.anchorings
            for seed in self.seeds or study.seeds
        ]

    def cells(self, study: Study) -> list[Cell]:
        return list(dict.fromkeys(cell for pair in self.pairs(study) for cell in (pair.plain, pair.anchored)))

    def at_most(self, study: Study) -> int:
        methods = sum(len(entry.methods) for entry in self.entries().values())
        return methods * (1 + len(self.anchorings)) * len(self.seeds or study.seeds)

    def unsound(self, path: str, study: Study) -> Iterator[str]:
        for source in self.entries():
            settings = study.source(source)
            if settings.n_features is None and not settings.is_labelled:
                yield (
                    f"{path}.runs: {source} has neither true features nor classes to score runs on; set it to null to"
                    " leave it out"
                )

    def unknown_names(self, path: str, study: Study) -> Iterator[str]:
        expected = "a key of anchorings"
        yield from unknown(f"{path}.anchorings", self.anchorings, study.anchorings, expected)
        yield from unknown(f"{path}.runs", self.entries(), study.all_sources(), "a source")
        for source, entry in self.entries().items():
            at = f"{path}.runs.{source}"
            yield from unknown(f"{at}.methods", entry.methods, study.methods, METHOD)
            yield from unknown(f"{at}.protocol", [entry.protocol], study.protocols, PROTOCOL)
            yield from unknown(f"{at}.instead", entry.instead, self.anchorings, f"one of {path}.anchorings")
            yield from unknown(f"{at}.instead", entry.instead.values(), study.anchorings, expected)

    def inputs(self, files: Files) -> list[str]:
        paths = []
        for _, cell, plain in self.pairs(files.study):
            paths += [files.metrics(plain), files.metrics(cell), files.history(cell)]
            paths += [files.anchors(cell.source, cell.anchoring, cell.seed)]
            if references := files.references(cell.source, cell.seed):
                paths.append(references)
        return list(dict.fromkeys(paths))

    def outputs(self, files: Files) -> list[str]:
        return [*super().outputs(files), files.table(f"{self.name}_runs"), files.table(self.name, "md")]

    def text_table(self, rows: "pd.DataFrame") -> "TextTable":
        from sdlstudy.rendering.anchoring_map import map_text

        return map_text(rows)

    def make(self, files: Files) -> None:
        import pandas as pd

        from sdlcore.storage.files import write_text
        from sdlstudy.rendering.anchoring_map import RUN_COLUMNS, figure_map, map_table
        from sdlstudy.results.tables import write_csv

        rows = [self._judged(pair, files) for pair in self.pairs(files.study)]
        runs = pd.DataFrame(rows).reindex(columns=RUN_COLUMNS)
        table = map_table(runs)
        write_csv(files.table(f"{self.name}_runs"), runs)
        write_text(files.table(self.name, "md"), self.text_table(table).markdown())
        self.write(files, figure_map(table), table)
        logging.info("%d cells from %d runs", len(table), len(runs))

    def _judged(self, pair: AnchoredPair, files: Files) -> "dict[str, str | float | None]":
        """Score a run with anchors and the same run without, on the features that no anchoring of the map anchors."""
        import numpy as np

        from sdlcore.data.anchors import load_anchors
        from sdlcore.data.recovery_rule import TAU_STRICT, recovered
        from sdlcore.data.references import load_references
        from sdlcore.evaluation.ground_truth import anchored_features, near_anchors
        from sdlstudy.results.runs import read_metrics
        from sdlstudy.results.tables import read_csv

        source, seed = pair.anchored.source, pair.anchored.seed
        judge = files.references(source, seed)
        assert judge is not None, f"{source} has neither true features nor classes"
        references = load_references(judge)
        beside = {self.entries()[source].instead.get(column, column) for column in self.anchorings}
        near = [
            near_anchors(load_anchors(files.anchors(source, name, seed)), references, TAU_STRICT) for name in beside
        ]
        remaining = ~np.any(near, axis=0)
        anchored = anchored_features(load_anchors(files.anchors(source, pair.anchored.anchoring, seed)), references)
        row: dict[str, str | float | None] = {
            **{"source": source, "method": pair.anchored.method, "protocol": pair.anchored.protocol},
            **{"anchoring": pair.column, "seed": seed, "judged": int(remaining.sum()), "given": len(anchored)},
        }
        for cell, suffix in ((pair.anchored, ""), (pair.plain, "_none")):
            run = read_metrics(files.metrics(cell))
            hits = recovered(np.array(run.features["decoder"]), TAU_STRICT)
            row |= {f"recovery{suffix}": hits[remaining].mean(), f"given_recovered{suffix}": hits[anchored].mean()}
            row |= {f"{name}{suffix}": run.metrics.get(name) for name in ("absorption", "fvu")}
        history = read_csv(files.history(pair.anchored))
        chosen = "lambda_anchor" in history
        row["lambda_anchor"] = (
            history["lambda_anchor"].iloc[-1]
            if chosen
            else files.study.anchorings[pair.anchored.anchoring].lambda_anchor
        )
        return row
