"""Make Tables 1, 2 and 4 to 7, our runs beside the paper's numbers, and tables of a user's own sources."""

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sdlcore.evaluation.metric_names import SIDES, recovery_name
from sdlcore.evaluation.top_samples import FEWEST_SAMPLES, TOP_SAMPLES
from sdlstudy.products.features import Features
from sdlstudy.products.overview import Overview
from sdlstudy.products.product import Product
from sdlstudy.products.run_table import OWN, RunTable
from sdlstudy.rendering.figures import GREY, PALETTE, style
from sdlstudy.rendering.labels import label_anchoring, label_method, symbol
from sdlstudy.rendering.run_text import text_table
from sdlstudy.rendering.text_table import TextTable
from sdlstudy.results.runs import read_runs, unjudged
from sdlstudy.results.tables import effects_over, no_paper, read_csv, read_paper, runs_over, table_over
from sdlstudy.results.verdicts import judge
from sdlstudy.settings.files import Files
from sdlstudy.settings.study import Study

WITH_FEATURES = "table1"
"""The table with two further figures: its overview, and its dictionaries compared feature by feature."""
PAPER_TEXT = (
    "Beside each number of the paper stands ours by the paper's rule: inner products with encoder rows, above .95 for "
    "recovery; Table 1's anchored rows count the features that are not anchors. In brackets: the 95 % prediction "
    "interval for one more run, or the tolerance where that is wider (2 points of recovery, .02 of MIP, 5 % of L0). "
    "Inside: whether the interval contains the paper's number; a dash for runs at another scale."
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
COLOURS = [PALETTE[0], PALETTE[3], PALETTE[2]]
"""Colours of anchorings."""
LINES: list[Literal["-", "--", ":"]] = ["-", "--", ":"]
"""Line styles of protocols."""
SHIFT = 0.07
"""Shift of anchorings along the axis, so that their points do not hide each other."""


class Table(RunTable):
    """A table of runs on one source, beside the paper's numbers."""

    also_used: ClassVar[tuple[str, ...]] = ("tau",)
    parts = ("", "effects", "runs", "verdicts")

    def describe(self) -> str:
        swept = f" over {self.sweep.parameter}" if self.sweep else ""
        return f"{' and '.join(self.protocols)} runs on {self.source}{swept}: ours beside the paper's numbers"

    @property
    def is_own(self) -> bool:
        """Whether the table is for a user's own source, which the paper lacks."""
        return self.name.startswith(OWN)

    def companions(self, study: Study) -> dict[str, Product]:
        if self.name != WITH_FEATURES:
            return {}
        products = {"overview": Overview.of(self, study), "features": Features.of(self, study)}
        return {companion: product for companion, product in products.items() if product is not None}

    def inputs(self, files: Files) -> list[str]:
        return super().inputs(files) + ([] if self.is_own else [files.numbers])

    def outputs(self, files: Files) -> list[str]:
        lacking = {files.table(self.part("verdicts"))} if self.is_own else set()
        paths = [path for path in super().outputs(files) if path not in lacking]
        return paths + ([files.figure(self.name), files.figure(self.name, "pdf")] if self.sweep else [])

    def beside(self, files: Files) -> list[str]:
        return [*super().beside(files), *self._of_sources(files)]

    def _of_sources(self, files: Files) -> Iterator[str]:
        """Yield the files that the table's sources write beside their stores."""
        for source in dict.fromkeys(self.sources(files.study)):
            if files.study.source(source).is_labelled:
                yield files.table(f"{source}_classes")
            if files.study.clip(source) is not None:
                yield from files.beside_images(source)

    def frames(self, files: Files) -> dict[str, pd.DataFrame]:
        layout = self.layout(files.study)
        runs = read_runs((files.metrics(cell) for cell in self.cells(files.study)), files.study.tau)
        if self.is_own:  # a user's own source may have no classes
            runs, paper, verdicts = unjudged(runs), no_paper(), {}
        else:
            numbers = read_csv(files.numbers)
            paper = read_paper(numbers, self.name)
            verdicts = {"verdicts": judge(self.name, numbers, runs_over(runs, layout), files.study)}
        effects, named = effects_over(runs, layout), runs_over(runs, layout)
        return {"": table_over(runs, paper, layout), "effects": effects, "runs": named} | verdicts

    def text(self, frames: Mapping[str, pd.DataFrame], study: Study) -> TextTable:
        return text_table(frames[""], self.text_caption(study), frames.get("verdicts"))

    def text_caption(self, study: Study) -> str:
        """Return the caption of the table, one paragraph: its runs, and what its columns mean."""
        source, seeds = study.source(self.source), self.seeds_of(study)
        what = CLASS_TEXT if source.is_labelled else PLAIN_TEXT if source.n_features is None else BENCH_TEXT
        spread = "mean ± standard deviation over seeds" if len(seeds) > 1 else "seed"
        run = f"Configuration {study.name}, source {self.source}; {spread} {', '.join(map(str, seeds))}."
        nulls = ["Null baselines run without anchors; frozen weights keep their random start."] if self.nulls else []
        return " ".join([run, *([] if self.is_own else [PAPER_TEXT]), what, *nulls])

    def draw(self, rows: pd.DataFrame, files: Files) -> Figure | None:
        """Draw recovery of encoder and decoder over the swept parameter, one column of panels for each method.

        Means over seeds are drawn with their standard deviation, values of the parameter at equal distances. Hollow
        markers are the paper's numbers, which it reports for encoders.
        """
        if self.sweep is None:
            return None
        methods, values = list(rows["method"].unique()), list(rows["value"].unique())
        with style():
            width = max(5.2, 1.75 * len(methods) + 0.8)
            figure = Figure(figsize=(width, 4.9), layout="constrained")
            panels = figure.subplots(len(SIDES), len(methods), sharex=True, sharey=True, squeeze=False)
            for column, method in enumerate(methods):
                runs = rows[rows["method"] == method]
                for row, side in enumerate(SIDES):
                    _draw(panels[row, column], runs, side, values)
                panels[0, column].set_title(label_method(method), fontsize=9)
                panels[-1, column].set_xticks(range(len(values)), _tick_labels(rows), fontsize=7)
                panels[-1, column].set_xlabel(symbol(rows["parameter"].iloc[0]))
            for row, side in enumerate(SIDES):
                panels[row, 0].set_ylabel(f"recovered by the {side}\n(share of features)")
            panels[0, 0].set_ylim(-0.04, 1.04)
            figure.legend(handles=_legend(rows), loc="outside lower center", ncols=3, fontsize=8)
        return figure


def _draw(axes: Axes, rows: pd.DataFrame, side: str, values: list[float]) -> None:
    for i, (anchoring, anchored) in enumerate(rows.groupby("anchoring", sort=False)):
        colour = COLOURS[i % len(COLOURS)]
        for j, (_, line) in enumerate(anchored.groupby("protocol", sort=False)):
            places = np.array([values.index(value) for value in line["value"]]) + SHIFT * (2 * i - 1)
            spread = line[f"{recovery_name(side)}_std"]
            axes.errorbar(
                places,
                line[f"{recovery_name(side)}_mean"],
                yerr=None if spread.isna().all() else spread.fillna(0),
                color=colour,
                linestyle=LINES[j % len(LINES)],
                linewidth=1.4,
                marker="o",
                markersize=3.5,
                capsize=2.5,
                label=f"{label_anchoring(str(anchoring))}",
            )
            if side == "encoder" and j == 0:
                axes.plot(
                    places,
                    line["paper_gt_recovery"],
                    linestyle="none",
                    marker="D",
                    markersize=6,
                    markerfacecolor="none",
                    color=colour,
                    clip_on=False,
                )


def _tick_labels(table: pd.DataFrame) -> list[str]:
    """Return a label for each value, with the paper's value below if it differs."""
    points = table[["value", "paper_value"]].drop_duplicates().itertuples(index=False)
    return [f"{ours:g}" if ours == paper else f"{ours:g}\n({paper:g})" for ours, paper in points]


def _legend(table: pd.DataFrame) -> list[Line2D]:
    anchorings, protocols = table["anchoring"].unique(), table["protocol"].unique()
    handles = [
        Line2D([], [], color=COLOURS[i % len(COLOURS)], marker="o", markersize=3.5, label=f"anchoring: {label}")
        for i, label in enumerate(map(label_anchoring, anchorings))
    ]
    handles.append(
        Line2D([], [], color=GREY, linestyle="none", marker="D", markerfacecolor="none", label="the paper's (encoder)")
    )
    if len(protocols) > 1:
        handles += [
            Line2D([], [], color=GREY, linestyle=LINES[i % len(LINES)], label=f"protocol {protocol}")
            for i, protocol in enumerate(protocols)
        ]
    return handles
