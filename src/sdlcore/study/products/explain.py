"""Show the search for the protocol behind Table 1: how near each protocol comes, and what matters for it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import MinLen

from sdlcore.settings import Text
from sdlcore.study.products.product import Picture
from sdlcore.study.settings.fields import Identifier, Seeds, Settings, Unique
from sdlcore.study.settings.files import Files
from sdlcore.study.settings.names import unknown
from sdlcore.study.settings.study import Study

AT_ONCE = 8
"""Protocols that one job trains, one after the other: they share the bench that they draw."""
Row = Literal[
    "relu",
    "relu+",
    "jumprelu",
    "jumprelu+",
    "topk",
    "topk+",
    "batchtopk",
    "batchtopk+",
    "matryoshka",
    "matryoshka+",
    "transcoder",
    "transcoder+",
    "crosscoder",
    "crosscoder+",
]


class Stage(Settings):
    """Some protocols, trained on some rows of Table 1."""

    protocols: Text
    """CSV file with a protocol a row (`sdlcore.study.explain.protocols`), relative to the working directory."""
    scale: Literal["quarter", "full"] = "quarter"
    """The paper's scale, or a quarter of it."""
    rows: Annotated[list[Row], MinLen(1), Unique]
    """Methods of Table 1, with + for the row with anchors."""
    seeds: Seeds = [0]
    """Each trains all rows."""
    joined: Identifier | None = None
    """An earlier stage of the same scale, whose rows count beside this one's, protocol by protocol; null for none."""

    def parts(self) -> list[int]:
        """Return the first protocol of each job."""
        from sdlcore.study.explain.protocols import read_protocols

        return list(range(0, len(read_protocols(Path(self.protocols))), AT_ONCE))

    def numbers(self, first: int) -> list[int]:
        """Return the protocols that the job beginning with ``first`` trains."""
        from sdlcore.study.explain.protocols import read_protocols

        return list(range(first, min(first + AT_ONCE, len(read_protocols(Path(self.protocols))))))


class Explain(Picture):
    """The search for the protocol behind the paper's Table 1, in stages (docs/results/explain); null for none."""

    keys = ("explain",)
    title = "Which protocol gives the paper's Table 1"
    alone = True

    stages: Annotated[dict[Identifier, Stage], MinLen(1)]
    """Stages by name, in the order in which they are run."""

    def unknown_names(self, path: str, study: Study) -> Iterator[str]:
        for name, stage in self.stages.items():
            earlier = [other for other in self.stages if other != name and self.stages[other].scale == stage.scale]
            joined = [stage.joined] if stage.joined else []
            yield from unknown(f"{path}.stages.{name}.joined", joined, earlier, "another stage of that scale")

    def unsound(self, path: str, study: Study) -> Iterator[str]:
        from sdlcore.study.explain.protocols import read_protocols

        for name, stage in self.stages.items():
            try:
                read_protocols(Path(stage.protocols))
            except (OSError, ValueError) as error:
                yield f"{path}.stages.{name}.protocols: {error}"

    def looks(self, files: Files, stage: str) -> list[str]:
        """Return the files that a stage's jobs write."""
        return [f"{files.results}/looks/{stage}/{first}.csv" for first in self.stages[stage].parts()]

    def inputs(self, name: str, files: Files) -> list[str]:
        return [file for stage in self.stages for file in self.looks(files, stage)] + [files.of_paper("table1")]

    def outputs(self, name: str, files: Files) -> list[str]:
        return [*super().outputs(name, files), *(files.table(f"{name}_{stage}") for stage in self.stages)]

    def make(self, name: str, files: Files) -> None:
        import pandas as pd

        from sdlcore.study.explain.distance import distances
        from sdlcore.study.explain.protocols import SCALES, read_protocols
        from sdlcore.study.rendering.explain import figure_explain
        from sdlcore.study.results.tables import read_csv, read_paper, write_csv

        paper = read_paper(files.of_paper("table1"))
        found, listed, looks = [], {}, {}
        for stage, spec in self.stages.items():
            listed[stage] = read_protocols(Path(spec.protocols))
            looks[stage] = pd.concat([read_csv(file) for file in self.looks(files, stage)], ignore_index=True)
            write_csv(files.table(f"{name}_{stage}"), looks[stage])
            seen = looks[stage]
            if spec.joined:
                places = {protocol: number for number, protocol in enumerate(listed[stage])}
                number = looks[spec.joined]["number"].map(dict(enumerate(listed[spec.joined]))).map(places)
                seen = pd.concat([seen, looks[spec.joined].assign(number=number).dropna(subset="number")])
            near = distances(listed[stage], seen, paper, SCALES[spec.scale].divisor)
            found.append(near.assign(stage=stage))
        table = pd.concat(found, ignore_index=True)
        self.write(name, files, figure_explain(table), table)
