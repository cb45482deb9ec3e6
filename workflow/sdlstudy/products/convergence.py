"""The figure of loss and recovery over seconds, for gradient training and solvers."""

from collections.abc import Iterable, Iterator
from itertools import cycle
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from sdlcore.evaluation.metric_names import recovery_name
from sdlstudy.products.product import Picture
from sdlstudy.rendering.figures import PALETTE, style
from sdlstudy.rendering.labels import label_method
from sdlstudy.results.tables import read_csv
from sdlstudy.settings.cells import Cell
from sdlstudy.settings.codes import CodesConfig
from sdlstudy.settings.fields import Identifier, Names, Seeds
from sdlstudy.settings.files import Files
from sdlstudy.settings.names import BENCH
from sdlstudy.settings.study import Study

DECODER, ENCODER = recovery_name("decoder"), recovery_name("encoder")
COLUMNS = ["method", "protocol", "seed", "step", "seconds", "fvu", DECODER, ENCODER]
MEASURES = {
    "fvu": "variance unexplained\n(training batches)",
    DECODER: "recovered by the decoder\n(share of features)",
    ENCODER: "recovered by the encoder\n(share of features)",
}


class Convergence(Picture):
    """Loss and recovery over seconds, of trained methods and solvers without anchors.

    These runs write their recovery into each row of their histories.
    """

    keys = ("figures.convergence",)
    title = "Loss and recovery over seconds"
    caption = (
        "A line for each run, without anchors; recovery counts cosines above .9. Dashed lines are solvers, whose "
        "encoders are fitted at the end. Runs shared the machine’s cores, so seconds compare runs only roughly."
    )

    source: Identifier
    """A bench."""
    methods: Names
    protocols: Names = ["best"]
    seeds: Seeds | None = None
    """Seeds; null for the first seed of the configuration."""

    def cells_without_metrics(self, study: Study) -> list[Cell]:
        # solvers and imported dictionaries take no settings from protocols, so one protocol is enough for them
        cells = [
            Cell(self.source, method, self.protocols[0] if study.methods[method].is_given else protocol, "none", seed)
            for method in self.methods
            for protocol in self.protocols
            for seed in self.seeds or study.seeds[:1]
        ]
        return list(dict.fromkeys(cells))

    def watched(self, study: Study) -> list[Cell]:
        return self.cells_without_metrics(study)

    def accepted_sources(self, study: Study) -> tuple[Iterable[str], str]:
        return study.sources.bench, BENCH

    def unsound(self, path: str, study: Study) -> Iterator[str]:
        for method in self.methods:
            if study.methods[method].settings is CodesConfig:  # its history is its training's, without recovery
                start = study.methods[method].warm_start
                yield f"{path}.methods: {method} is codes by search and has no history of its own; list {start}"

    def inputs(self, files: Files) -> list[str]:
        return [files.history(cell) for cell in self.cells_without_metrics(files.study)]

    def rows(self, files: Files) -> pd.DataFrame:
        """Return the histories of all runs. A solver fits its encoder after its search, so the encoder's recovery is
        NaN in its history; solvers and imported dictionaries have no protocol."""
        frames = []
        for cell in self.cells_without_metrics(files.study):
            protocol = None if files.study.methods[cell.method].is_given else cell.protocol
            history = read_csv(files.history(cell)).assign(method=cell.method, protocol=protocol, seed=cell.seed)
            frames.append(history.reindex(columns=COLUMNS))
        return pd.concat(frames, ignore_index=True)

    def draw(self, rows: pd.DataFrame, files: Files) -> Figure:
        """Draw a row of panels for each protocol, a line for each run; solvers are drawn in every row."""
        protocols = list(rows["protocol"].dropna().unique()) or [None]
        colours = dict(zip(rows["method"].unique(), cycle(PALETTE)))
        with style():
            figure = Figure(figsize=(10.4, 2.4 * len(protocols) + 0.5), layout="constrained")
            panels: Any = figure.subplots(len(protocols), len(MEASURES), squeeze=False, sharex=True)
            for line, protocol in zip(panels, protocols, strict=True):
                row_runs = rows[rows["protocol"].isna() | (rows["protocol"] == protocol)]
                for (method, _), run in row_runs.groupby(["method", "seed"], sort=False):
                    stroke = "--" if run["protocol"].isna().all() else "-"
                    for axes, measure in zip(line, MEASURES, strict=True):
                        axes.plot(run["seconds"], run[measure], stroke, color=colours[method], linewidth=1.1)
                for axes, (measure, label) in zip(line, MEASURES.items(), strict=True):
                    axes.set_ylabel(label, fontsize=8)
                    axes.set_xscale("log")
                    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
                    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
                    axes.xaxis.set_minor_formatter(NullFormatter())
                    if measure == "fvu":
                        axes.set_yscale("log")
                    else:
                        axes.set_ylim(-0.03, 1.03)
                if protocol is not None:
                    line[0].set_title(f"protocol {protocol}", fontsize=9, loc="left")
            for axes in panels[-1]:
                axes.set_xlabel("seconds")
            solved = set(rows.loc[rows["protocol"].isna(), "method"])
            handles = [Line2D([], [], color=c, linestyle="--" if m in solved else "-") for m, c in colours.items()]
            figure.legend(handles, [label_method(m) for m in colours], loc="outside right upper", fontsize=8)
        return figure
