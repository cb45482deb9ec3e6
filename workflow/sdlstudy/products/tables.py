"""Make Tables 1, 2 and 4 to 7, our runs beside the paper's numbers, and tables of a user's own sources."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from typing import Annotated, Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from sdlcore.evaluation.metrics import FEWEST_SAMPLES, SIDES, TOP_SAMPLES
from sdlstudy.products.overview import draw_overview, overview_rows, strongest_null
from sdlstudy.products.product import AnyStudy, Product
from sdlstudy.rendering.labels import label_anchoring, label_method, label_value, symbol
from sdlstudy.rendering.run_text import text_table
from sdlstudy.rendering.text_table import TextTable
from sdlstudy.results.runs import read_runs, unjudged
from sdlstudy.results.tables import (
    Point,
    effects_over,
    read_csv,
    read_paper,
    runs_over,
    table_over,
)
from sdlstudy.results.verdicts import judge
from sdlstudy.settings.cells import Cell, source_with, unchecked_settings, variant_name
from sdlstudy.settings.fields import AsGiven, Identifier, Names, Numbers, Seeds, Settings, Unique
from sdlstudy.settings.files import Files
from sdlstudy.settings.study import Study

OWN = "own_"
"""Prefix of the names of tables for a user's own sources. Such tables are not in the paper."""
PAPER_TEXT = (
    "Ours (paper): our mean by the paper's rule, then the paper's number. The rule takes inner products with encoder "
    "rows, above .95 for recovery; Table 1's anchored rows count the features that are not anchors. ✓: inside the 95 % "
    "prediction interval for one more run of ours, or the tolerance where that is wider (2 points of recovery, .02 of "
    "MIP, 5 % of L0). ✗: outside. No mark: our runs have another scale. The CSV file of verdicts has the intervals."
)
BENCH_TEXT = (
    "GT recovery: share of true features whose best match exceeds a cosine of .9. MIP: mean best match. Encoder and "
    "decoder: by cosines with encoder rows and decoder columns. Not given: without the features that are anchors, also "
    "for runs without anchors. L0, FVU and dead fraction are measured on held-out samples. Chance: as many random "
    "directions. Anchors only: the anchors without training. Oracle: the true features as rows and columns, with each "
    "method's activation; its rows also respond to features that interfere."
)
CLASS_TEXT = (
    "GT recovery: share of class means whose best match exceeds a cosine of .9. MIP: mean best match. Class means are "
    "no true features. Not given: without the classes that are anchors. Top classes: number of classes among the "
    f"{TOP_SAMPLES} held-out samples that a latent responds to most, over latents that respond to {FEWEST_SAMPLES} or "
    "more. Chance: as many random directions. Anchors only: the anchors without training."
)
PLAIN_TEXT = (
    "L0, FVU and dead fraction are measured on held-out samples, which have no classes to compare directions with."
)


class Sweep(Settings):
    """The parameter that a table varies, and its values.

    Each value makes a variant of the source or of the methods, named after it (lrb_n_800, topk_k_32). No variant is
    made of a source or method that has the value already, so the table shares its runs with other tables.
    """

    parameter: str
    """A setting of the source, or else of runs."""
    values: Numbers
    """Values of the parameter, in the order of the rows."""
    paper: list[Annotated[float, AsGiven]] | None = None
    """For each of values, the value of the paper's table whose numbers are shown beside it; null for the same
    values."""


class Compared(Product):
    """The runs of a table on one source: methods, anchorings, protocols, seeds and null baselines."""

    methods: Names
    anchorings: Names = ["none"]
    protocols: Names = ["best"]
    seeds: Seeds | None = None
    """Some of the configuration's seeds; null for all of them."""
    nulls: Annotated[list[Identifier], Unique] = []
    """Methods that run only without anchors, as null baselines: rows to compare scores with. Effects and
    verdicts leave them out."""
    null_protocols: Names | None = None
    """The protocols that null baselines run under; null for the protocols of the methods."""

    @property
    def all_methods(self) -> list[str]:
        """Return the methods, then the null baselines."""
        return [*self.methods, *self.nulls]

    @property
    def all_protocols(self) -> list[str]:
        """Return the protocols of methods and of null baselines."""
        return list(dict.fromkeys([*self.protocols, *(protocol for _, protocol in self.null_runs)]))

    @property
    def null_runs(self) -> list[tuple[str, str]]:
        """Return method and protocol of every null baseline."""
        return list(product(self.nulls, self.null_protocols or self.protocols))


class Table(Compared):
    """A table of runs on one source, beside the paper's numbers. It may vary one parameter."""

    parts = ("", "effects", "runs", "verdicts")
    caption = (
        "Share of all features that the encoder (above) and the decoder (below) recover by cosines above .9, over the "
        "swept parameter. If the paper has another value, it is in brackets. Hollow markers are the paper’s numbers, "
        "by its own rule. Anchored features count too: where the encoder’s curve with anchors equals their share of "
        "all features, it found no other."
    )

    source: Identifier
    sweep: Sweep | None = None
    """The parameter that the table varies; null for none."""

    def describe(self) -> str:
        swept = f" over {self.sweep.parameter}" if self.sweep else ""
        beside = "" if self.is_own else ": ours beside the paper's numbers"
        return f"{' and '.join(self.protocols)} runs on {self.source}{swept}{beside}"

    @property
    def is_own(self) -> bool:
        """Whether the table is for a user's own source, which the paper lacks."""
        return self.name.startswith(OWN)

    def is_overview(self, study: Study) -> bool:
        """Return whether the table's picture is the overview of Table 1."""
        on_bench = self.source in study.sources.bench
        return self.name == "table1" and self.sweep is None and on_bench and "none" in self.anchorings

    def seeds_of(self, study: Study) -> list[int]:
        """Return the table's seeds, or the study's seeds if the table sets none."""
        return self.seeds or study.seeds

    def sweeps_source(self, study: Study) -> bool:
        """Return whether the swept parameter is a setting of the source."""
        # run holds settings of runs, which are swept by their own names; like is resolved when a file is loaded
        swept = type(study.source(self.source)).model_fields.keys() - {"run", "like"}
        return self.sweep is not None and self.sweep.parameter in swept

    def points(self, study: Study) -> list[Point]:
        """Return the points of the table's sweep, in its order; one point without a value if it sweeps nothing.

        A parameter of the source makes variants of the source, a parameter of runs makes variants of the methods. No
        variant is made of a source or method that has the value already, so that tables share its runs.
        """
        methods = {method: method for method in self.all_methods}
        if self.sweep is None:
            return [Point(None, None, self.source, methods)]
        parameter, points = self.sweep.parameter, []
        for value, printed in zip(self.sweep.values, self.sweep.paper or self.sweep.values, strict=True):
            source, variants = self.source, dict(methods)
            if self.sweeps_source(study):
                source = source_with(study, source, parameter, value)
            else:
                for method in methods:
                    runs = [unchecked_settings(study, source, method, way) for way in self.all_protocols]
                    if any(run[parameter] != value for run in runs):
                        variants[method] = variant_name(method, parameter, value)
            points.append(Point(value, printed, source, variants))
        return points

    def cells(self, study: Study) -> list[Cell]:
        rows = list(product(self.methods, self.protocols, self.anchorings))
        rows += [(method, protocol, "none") for method, protocol in self.null_runs]
        return [
            Cell(point.source, point.methods[method], protocol, anchoring, seed)
            for point in self.points(study)
            for method, protocol, anchoring in rows
            for seed in self.seeds_of(study)
        ]

    def anchorings_on(self, study: Study, source: str) -> set[str]:
        return set(self.anchorings) if source in {point.source for point in self.points(study)} else set()

    def with_variants(self, study: AnyStudy) -> AnyStudy:
        for point in self.points(study):
            if self.sweep is None or point.value is None:
                continue
            parameter = {self.sweep.parameter: point.value}
            if point.source not in study.all_sources():
                study = study.with_source(point.source, study.source(self.source).model_copy(update=parameter))
            for method, variant in point.methods.items():
                if variant in study.methods:
                    continue
                methods = {**study.methods, variant: study.methods[method].model_copy(update=parameter)}
                ways = dict(study.protocols)
                for name, way in ways.items():
                    if method in way.methods and variant not in way.methods:
                        variants = way.methods | {variant: way.methods[method] | parameter}
                        ways[name] = way.model_copy(update={"methods": variants})
                study = study.model_copy(update={"methods": methods, "protocols": ways})
        return study

    def accepted_sources(self, study: Study) -> tuple[Iterable[str], str]:
        if self.is_own:
            return super().accepted_sources(study)
        labelled = (name for name, s in study.all_sources().items() if s.n_features is not None or s.is_labelled)
        return labelled, "a bench or a source with class_means"

    def unknown_names(self, path: str, study: Study) -> Iterator[str]:
        unknown = list(super().unknown_names(path, study))
        yield from unknown
        for null in set(self.nulls) & set(self.methods):
            yield f"{path}.nulls: {null} is one of methods, too; leave it out of one of the two"
        if self.sweep is None or unknown:
            return
        parameter, printed = self.sweep.parameter, self.sweep.paper
        if printed is not None and len(printed) != len(self.sweep.values):
            yield f"{path}.sweep.paper: {len(printed)} values, expected {len(self.sweep.values)}, as many as of ours"
        for method in [] if self.sweeps_source(study) else self.all_methods:
            runs = [unchecked_settings(study, self.source, method, protocol) for protocol in self.all_protocols]
            if any(parameter not in run for run in runs):
                kind = study.source(self.source).kind
                yield f"{path}.sweep.parameter: {parameter} is a setting neither of sources.{kind} nor of {method}"

    def unsound(self, path: str, study: Study) -> Iterator[str]:
        for point in self.points(study):
            if self.sweep is None or point.value is None:
                continue
            parameter = self.sweep.parameter
            values = {f"sources.{point.source}": getattr(study.source(point.source), parameter, None)}
            if not self.sweeps_source(study):
                values = {
                    f"methods.{method} under protocols.{protocol}": unchecked_settings(
                        study, point.source, method, protocol
                    )[parameter]
                    for method in point.methods.values()
                    for protocol in self.all_protocols
                }
            for where, value in values.items():
                if value != point.value:
                    yield f"{path}.sweep.values: {point.value}, but {where} has {value}"
        n_anchored = len(set(self.anchorings) - {"none"})
        if n_anchored > 1 and ("none" in self.anchorings or self.nulls):
            yield (
                f"{path}.anchorings: runs without anchors are compared on the features that anchors do not give"
                f" away; expected one anchoring beside none, found {n_anchored}"
            )

    def inputs(self, files: Files) -> list[str]:
        nearest = [files.of_paper("nearest_protocol")] if self.is_overview(files.study) else []
        return super().inputs(files) + ([] if self.is_own else [files.of_paper("numbers")]) + nearest

    def outputs(self, files: Files) -> list[str]:
        lacking = {files.table(self.part("verdicts"))} if self.is_own else set()
        return [path for path in super().outputs(files) if path not in lacking]

    def is_drawn(self, study: Study) -> bool:
        return self.sweep is not None or self.is_overview(study)

    def beside(self, files: Files) -> list[str]:
        of_sources = []
        for source in dict.fromkeys(point.source for point in self.points(files.study)):
            if files.study.source(source).is_labelled:
                of_sources.append(files.table(f"{source}_classes"))
            if source in files.study.sources.clip:
                of_sources += files.beside_images(source)
        return [*super().beside(files), *of_sources]

    def frames(self, files: Files) -> dict[str, pd.DataFrame]:
        parameter = None if self.sweep is None else self.sweep.parameter
        runs = read_runs(files.metrics(cell) for cell in self.cells(files.study))
        if self.is_own:  # a user's own source may have no classes
            runs = unjudged(runs)
        placed = runs_over(runs, self.points(files.study), parameter, self.nulls)
        named = placed.drop(columns="row")
        frames = {"effects": effects_over(placed), "runs": named}
        if self.is_own:
            return {"": table_over(placed, {})} | frames
        numbers = read_csv(files.of_paper("numbers"))
        verdicts = judge(self.name, numbers, named, files.study)
        return {"": table_over(placed, read_paper(numbers, self.name))} | frames | {"verdicts": verdicts}

    def text(self, frames: Mapping[str, pd.DataFrame], study: Study) -> TextTable:
        return text_table(frames[""], self.text_caption(study), frames.get("verdicts"))

    def text_caption(self, study: Study) -> str:
        """Return the caption of the table, one paragraph: its runs, and the meaning of its columns."""
        source, seeds = study.source(self.source), self.seeds_of(study)
        what = CLASS_TEXT if source.is_labelled else PLAIN_TEXT if source.n_features is None else BENCH_TEXT
        spread = "mean ± standard deviation over seeds" if len(seeds) > 1 else "seed"
        run = f"Configuration {study.name}, source {self.source}; {spread} {', '.join(map(str, seeds))}."
        nulls = ["Null baselines run without anchors; frozen weights keep their random start."] if self.nulls else []
        return " ".join([run, *([] if self.is_own else [PAPER_TEXT]), what, *nulls])

    def draw(self, rows: pd.DataFrame, files: Files) -> Figure:
        """Draw recovery of encoder and decoder over the swept parameter, or the overview of Table 1.

        Means over seeds are drawn with their standard deviation, values of the parameter at equal distances. Hollow
        markers are the paper's numbers, which it reports for encoders.
        """
        if self.is_overview(files.study):
            marks = overview_rows(rows, read_csv(files.of_paper("nearest_protocol")), self.methods)
            return draw_overview(marks, strongest_null(rows, self.nulls))
        import seaborn

        tidy = pd.concat([_side(rows, side) for side in SIDES], ignore_index=True)
        tidy["line"] = tidy["anchoring"].map(label_anchoring)
        if tidy["protocol"].nunique() > 1:
            tidy["line"] += ", protocol " + tidy["protocol"]
        points = zip(tidy["value"], tidy["paper_value"], strict=True)
        tidy["x"] = [label_value(*point).replace(" (", "\n(") for point in points]
        look: dict[str, Any] = {
            "hue": "line",
            "palette": "colorblind",
            "margin_titles": True,
            "height": 2,
            "aspect": 1.6,
        }
        grid = seaborn.FacetGrid(tidy, row="side", col="method", ylim=(-0.04, 1.04), **look)
        grid.map_dataframe(_draw_line).add_legend(title="anchoring").set_titles(
            row_template="{row_name}", col_template="{col_name}"
        )
        grid.set_axis_labels(symbol(rows["parameter"].iloc[0]), "share recovered")
        figure: Figure = grid.figure
        return figure


def _side(rows: pd.DataFrame, side: str) -> pd.DataFrame:
    """Return the means and deviations of one side, and the paper's numbers beside the encoder's."""
    mean, std = (rows[f"gt_recovery_{side}_{statistic}"] for statistic in ("mean", "std"))
    paper = rows["paper_gt_recovery"] if side == "encoder" else np.nan
    return rows.assign(side=side, mean=mean, std=std.fillna(0), paper=paper, method=rows["method"].map(label_method))


def _draw_line(data: pd.DataFrame, color: Any, label: str) -> None:
    from matplotlib import pyplot

    pyplot.errorbar(data["x"], data["mean"], yerr=data["std"], color=color, marker="o", capsize=2.5, label=label)
    pyplot.plot(data["x"], data["paper"], "D", color=color, markerfacecolor="none", clip_on=False)
