"""The table that compares runs with discovered anchors, given anchors and no anchors."""

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from annotated_types import MinLen

from sdlcore.storage.files import write_text
from sdlstudy.products.product import Product
from sdlstudy.settings.cells import Cell
from sdlstudy.settings.fields import AnchoringName, Identifier, Names, Seeds, Settings, Unique
from sdlstudy.settings.files import Files
from sdlstudy.settings.names import METHOD, PROTOCOL, unknown
from sdlstudy.settings.study import Study

if TYPE_CHECKING:
    import pandas as pd

    from sdlstudy.rendering.text_table import TextTable


class Discovered(Settings):
    """The methods trained on a source, and the anchorings that are compared."""

    methods: Names
    anchorings: Annotated[list[AnchoringName], MinLen(1), Unique]
    """Anchorings; each is compared with runs without anchors."""
    protocols: Names = ["best"]


class Discovery(Product):
    """Runs of the table that compares discovered anchors, given anchors and no anchors (docs/paper.md); null for
    none."""

    keys = ("discovery",)
    title = "Discovered anchors beside given ones and none"
    alone = True
    memory = 2000
    minutes = 10

    runs: Annotated[dict[Identifier, Discovered | None], MinLen(1)]
    """Source -> the methods and anchorings trained on it; null leaves a source of the default out."""
    seeds: Seeds | None = None
    """Seeds; null for the configuration's."""

    def entries(self) -> dict[str, Discovered]:
        """Return the sources that are not null, with the methods and anchorings of each."""
        return {source: entry for source, entry in self.runs.items() if entry is not None}

    def cells(self, study: Study) -> list[Cell]:
        return [
            Cell(source, method, protocol, anchoring, seed)
            for source, entry in self.entries().items()
            for method in entry.methods
            for protocol in entry.protocols
            for anchoring in ("none", *entry.anchorings)
            for seed in self.seeds or study.seeds
        ]

    def at_most(self, study: Study) -> int:
        sides = [len(a.methods) * len(a.protocols) * (1 + len(a.anchorings)) for a in self.entries().values()]
        return sum(sides) * len(self.seeds or study.seeds)

    def unknown_names(self, path: str, study: Study) -> Iterator[str]:
        yield from unknown(f"{path}.runs", self.entries(), study.all_sources(), "a source")
        for source, entry in self.entries().items():
            at = f"{path}.runs.{source}"
            yield from unknown(f"{at}.methods", entry.methods, study.methods, METHOD)
            yield from unknown(f"{at}.protocols", entry.protocols, study.protocols, PROTOCOL)
            yield from unknown(f"{at}.anchorings", entry.anchorings, study.anchorings, "a key of anchorings")

    def inputs(self, files: Files) -> list[str]:
        paths = []
        for cell in self.cells(files.study):
            paths += [files.model(cell), files.metrics(cell)]
            if cell.anchoring != "none":
                paths.append(files.anchors(cell.source, cell.anchoring, cell.seed))
            if references := files.references(cell.source, cell.seed):
                paths.append(references)
        return list(dict.fromkeys(paths))

    def outputs(self, files: Files) -> list[str]:
        return [files.table(self.name), files.table(f"{self.name}_runs"), files.table(self.name, "md")]

    def text_table(self, rows: "pd.DataFrame") -> "TextTable":
        from sdlstudy.rendering.discovery_table import discovery_text

        return discovery_text(rows)

    def make(self, files: Files) -> None:
        import pandas as pd

        from sdlstudy.rendering.discovery_table import RUN_COLUMNS, discovery_table
        from sdlstudy.results.tables import write_csv

        cells = self.cells(files.study)
        rows: dict[Cell, dict[str, str | float | None]] = {}
        for source_seed in dict.fromkeys((cell.source, cell.seed) for cell in cells):
            rows |= _judged([cell for cell in cells if (cell.source, cell.seed) == source_seed], files)
        runs = pd.DataFrame([rows[cell] for cell in cells]).reindex(columns=RUN_COLUMNS)
        table = discovery_table(runs)
        write_csv(files.table(f"{self.name}_runs"), runs)
        write_csv(files.table(self.name), table)
        write_text(files.table(self.name, "md"), self.text_table(table).markdown())
        logging.info("%d rows from %d runs", len(table), len(runs))


def _judged(cells: list[Cell], files: Files) -> dict[Cell, dict[str, str | float | None]]:
    """Score runs of one source and seed on their `unanchored_features`, those not near any anchor; one row a run."""
    from dataclasses import asdict, replace

    from sdlcore.data.anchors import load_anchors
    from sdlcore.data.references import load_references
    from sdlcore.evaluation.ground_truth import best_cosines, near_anchors
    from sdlcore.model.saving import load_model
    from sdlstudy.results.discovered import recovery_over, unanchored_features
    from sdlstudy.results.runs import read_metrics

    source, seed = cells[0].source, cells[0].seed
    names = dict.fromkeys(cell.anchoring for cell in cells if cell.anchoring != "none")
    anchors = {name: load_anchors(files.anchors(source, name, seed)) for name in names}
    all_stable = sorted(name for name in names if files.study.anchorings[name].n_anchors is None)
    judge = files.references(source, seed)
    references = load_references(judge) if judge else None
    masks = unanchored_features(anchors, references, all_stable) if references else {}
    metrics = {cell: read_metrics(files.metrics(cell)).metrics for cell in cells}
    rows = {}
    for cell in cells:
        plain = replace(cell, anchoring="none")
        values, run_anchors = metrics[cell], anchors.get(cell.anchoring)
        row = asdict(cell) | {name: values[name] for name in ("fvu", "l0", "dead_fraction")}
        row |= {"fvu_none": metrics[plain]["fvu"], "anchors": 0 if run_anchors is None else len(run_anchors.w_p)}
        if references:
            row["near"] = 0 if run_anchors is None else int(near_anchors(run_anchors, references).sum())
            row["left"] = int(masks[cell.anchoring].sum())
            for run, suffix in ((cell, ""), (plain, "_none")):
                cosines = best_cosines(load_model(files.model(run)), references)
                scores = recovery_over(masks[cell.anchoring], *cosines)
                row |= {f"{name}{suffix}": score for name, score in scores.items()}
        rows[cell] = row
    return rows
