"""Show the search for the protocol behind Table 1: how near each protocol comes, and what matters for it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import MinLen
from pydantic import Field

from sdlcore.pipeline import Text
from sdlcore.study.explain.protocols import METHODS, SCALES, read_protocols
from sdlcore.study.products.product import Picture
from sdlcore.study.settings.fields import Identifier, Seeds, Settings, Unique
from sdlcore.study.settings.files import Files
from sdlcore.study.settings.names import unknown
from sdlcore.study.settings.study import Study

AT_ONCE = 8
"""Number of protocols that one job trains, one after the other, on the same bench."""
REPEATED = ("table6", 0.01)
"""The table and value whose rows repeat Table 1."""
Row = Annotated[str, Field(pattern=rf"^({'|'.join(METHODS)})\+?\Z")]
"""A row of Table 1: a method, with + for the row with anchors."""


class Stage(Settings):
    """A choice of protocols, and the rows of the paper's table on which they are trained."""

    protocols: Text
    """CSV file with a protocol a row (`sdlcore.study.explain.protocols`), relative to the working directory."""
    scale: Literal["quarter", "full"] = "quarter"
    """The paper's scale, or a quarter of it."""
    table: Literal["table1", "table4", "table5", "table6", "table7"] = "table1"
    """The paper's table."""
    rows: Annotated[list[Row], MinLen(1), Unique] | None = None
    """Methods of Table 1, with + for the row with anchors; null for all rows of the table."""
    seeds: Seeds = [0]
    """Seeds; each trains all rows."""
    joined: Identifier | None = None
    """An earlier stage with the same scale and table. Its rows are added to this stage's rows of the same protocols."""
    compared: Identifier | None = None
    """An earlier stage with another scale. Distances of the protocols in both stages are ranked and compared."""
    fixed: Identifier | None = None
    """An earlier stage. Its nearest protocol fixes step and reading of this stage, which then fits nothing."""

    @property
    def named(self) -> set[str]:
        """Return the names of other stages that this stage depends on."""
        return {name for name in (self.joined, self.compared, self.fixed) if name}

    def numbers(self, first: int) -> list[int]:
        """Return the protocols that the job beginning with ``first`` trains."""
        return list(range(first, min(first + AT_ONCE, len(read_protocols(Path(self.protocols))))))

    def of_table(self, files: Files) -> tuple[list[str], list[float]]:
        """Return the rows of the table, and the values that it varies without the value that repeats Table 1."""
        from sdlcore.study.results.tables import PAPER_METHODS, read_paper

        names = {title: name for name, title in PAPER_METHODS.items()}
        paper = read_paper(files.of_paper(self.table))
        values = [float(value) for value in paper["value"].dropna().unique()]
        every = [f"{names[str(row.method)]}{'+' * (row.anchoring != 'none')}" for row in paper.itertuples(index=False)]
        return list(self.rows or dict.fromkeys(every)), [v for v in values if (self.table, v) != REPEATED]


class Explain(Picture):
    """The search for the protocol behind the paper's Table 1, in stages (docs/results/explain); null for none."""

    keys = ("explain",)
    title = "Which protocol gives the paper's Table 1"
    alone = True

    stages: Annotated[dict[Identifier, Stage], MinLen(1)]
    """Stages by name."""
    shown: Identifier | None = None
    """A stage whose nearest protocol's numbers are written in the paper's format (``explain_nearest.csv``)."""

    def ordered(self) -> list[str]:
        """Return the stages, each after the stages that it names; stages in a cycle are left out."""
        order: list[str] = []
        while ready := [name for name in self.stages if name not in order and self.stages[name].named <= {*order}]:
            order += ready
        return order

    def unknown_names(self, path: str, study: Study) -> Iterator[str]:
        yield from unknown(f"{path}.shown", [name for name in [self.shown] if name], self.stages, "a stage")
        for name, stage in self.stages.items():
            at, others = f"{path}.stages.{name}", {key: other for key, other in self.stages.items() if key != name}
            alike = [key for key, other in others.items() if (other.scale, other.table) == (stage.scale, stage.table)]
            joined, rest = [key for key in [stage.joined] if key], stage.named - {stage.joined}
            yield from unknown(f"{at}.joined", joined, alike, "another stage of that scale and table")
            yield from unknown(at, sorted(rest), others, "another stage")
        waiting = sorted({*self.stages} - {*self.ordered()})
        if waiting and all(self.stages[name].named <= {*self.stages} for name in waiting):
            yield f"{path}.stages: {', '.join(waiting)} wait for each other; a stage can name only earlier ones"

    def unsound(self, path: str, study: Study) -> Iterator[str]:
        for name, stage in self.stages.items():
            try:
                read_protocols(Path(stage.protocols))
            except (OSError, ValueError) as error:
                yield f"{path}.stages.{name}.protocols: {error}"

    def looks(self, files: Files, stage: str) -> list[str]:
        """Return the files that a stage's jobs write."""
        firsts = range(0, len(read_protocols(Path(self.stages[stage].protocols))), AT_ONCE)
        return [f"{files.results}/looks/{stage}/{first}.csv" for first in firsts]

    def inputs(self, name: str, files: Files) -> list[str]:
        return [file for stage in self.stages for file in self.looks(files, stage)] + self.papers(files)

    def papers(self, files: Files) -> list[str]:
        """Return the paper's tables that stages are compared with."""
        return sorted({files.of_paper(stage.table) for stage in self.stages.values()})

    def outputs(self, name: str, files: Files) -> list[str]:
        parts = [*self.stages, *(f"{stage}_rows" for stage in self.stages)]
        parts += [f"{stage}_scales" for stage, spec in self.stages.items() if spec.compared]
        parts += ["nearest"] if self.shown else []
        return [*super().outputs(name, files), *(files.table(f"{name}_{part}") for part in parts)]

    def make(self, name: str, files: Files) -> None:
        import pandas as pd

        from sdlcore.study.explain.distance import READINGS, Reading, as_read, by_row, distances
        from sdlcore.study.explain.scales import agreement
        from sdlcore.study.rendering.explain import figure_explain
        from sdlcore.study.results.tables import read_csv, read_paper, write_csv

        listed, looks, found = {}, {}, dict[str, pd.DataFrame]()
        for stage in self.ordered():
            spec = self.stages[stage]
            listed[stage] = read_protocols(Path(spec.protocols))
            looks[stage] = pd.concat([read_csv(file) for file in self.looks(files, stage)], ignore_index=True)
            write_csv(files.table(f"{name}_{stage}"), looks[stage])
            seen = looks[stage]
            if spec.joined:
                places = {protocol: number for number, protocol in enumerate(listed[stage])}
                number = looks[spec.joined]["number"].map(dict(enumerate(listed[spec.joined]))).map(places)
                seen = pd.concat([seen, looks[spec.joined].assign(number=number).dropna(subset="number")])
            readings, step = READINGS, None
            if spec.fixed:
                best = found[spec.fixed].iloc[0]
                readings, step = [Reading(*best[list(Reading._fields)])], int(best["step"])
            paper, divisor = read_paper(files.of_paper(spec.table)), SCALES[spec.scale].divisor
            found[stage] = distances(listed[stage], seen, paper, divisor, readings, step).assign(stage=stage)
            write_csv(files.table(f"{name}_{stage}_rows"), by_row(listed[stage], looks[stage], paper, divisor))
            if spec.compared:
                sides = [(listed[side], looks[side], found[side]) for side in (spec.compared, stage)]
                write_csv(files.table(f"{name}_{stage}_scales"), agreement(*sides))
            if stage == self.shown:
                best = found[stage].iloc[0]
                own, reading = looks[stage]["number"] == best["number"], Reading(*best[list(Reading._fields)])
                shown = as_read(looks[stage][own], paper, divisor, int(best["step"]), reading)
                write_csv(files.table(f"{name}_nearest"), shown.round(4))
        table = pd.concat(found.values(), ignore_index=True)
        self.write(name, files, figure_explain(table, list(self.stages)), table)
