"""The figure of loss and recovery over seconds, for gradient training and solvers."""

from collections.abc import Iterable, Iterator

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from sdlstudy.products.product import Product
from sdlstudy.rendering.figures import draw_lines
from sdlstudy.rendering.labels import label_method
from sdlstudy.results.tables import read_csv
from sdlstudy.settings.cells import Cell
from sdlstudy.settings.codes import CodesConfig
from sdlstudy.settings.fields import Identifier, Names
from sdlstudy.settings.files import Files
from sdlstudy.settings.names import BENCH
from sdlstudy.settings.study import Study

DECODER, ENCODER = "gt_recovery_decoder", "gt_recovery_encoder"
COLUMNS = ["method", "protocol", "seed", "step", "seconds", "fvu", DECODER, ENCODER]
MEASURES = {
    "fvu": "variance unexplained (training batches)",
    DECODER: "share recovered by the decoder",
    ENCODER: "share recovered by the encoder",
}


class Convergence(Product):
    """Loss and recovery over seconds, of trained methods and solvers without anchors, with the first seed.

    These runs write their recovery into each row of their histories.
    """

    keys = ("figures.convergence",)
    title = "Loss and recovery over seconds"
    caption = (
        "A line for each run, without anchors; recovery counts cosines above .9. Solvers fit their encoders at the "
        "end. Runs shared the machine’s cores, so seconds compare runs only roughly."
    )

    evaluated = False
    watched = True

    source: Identifier
    """A bench."""
    methods: Names
    protocols: Names = ["best"]

    def cells(self, study: Study) -> list[Cell]:
        # solvers and imported dictionaries take no settings from protocols, so one protocol is enough for them
        return [
            Cell(self.source, method, protocol, "none", study.seeds[0])
            for method in self.methods
            for protocol in (self.protocols[:1] if study.methods[method].is_given else self.protocols)
        ]

    def accepted_sources(self, study: Study) -> tuple[Iterable[str], str]:
        return study.sources.bench, BENCH

    def unsound(self, path: str, study: Study) -> Iterator[str]:
        for method in self.methods:
            if study.methods[method].settings is CodesConfig:  # its history is its training's, without recovery
                start = study.methods[method].warm_start
                yield f"{path}.methods: {method} is codes by search and has no history of its own; list {start}"

    def inputs(self, files: Files) -> list[str]:
        return [files.history(cell) for cell in self.cells(files.study)]

    def rows(self, files: Files) -> pd.DataFrame:
        """Return the histories of all runs. A solver fits its encoder after its search, so the encoder's recovery is
        NaN in its history; solvers and imported dictionaries have no protocol."""
        frames = []
        for cell in self.cells(files.study):
            protocol = None if files.study.methods[cell.method].is_given else cell.protocol
            history = read_csv(files.history(cell)).assign(method=cell.method, protocol=protocol, seed=cell.seed)
            frames.append(history.reindex(columns=COLUMNS))
        return pd.concat(frames, ignore_index=True)

    def draw(self, rows: pd.DataFrame, files: Files) -> Figure:
        """Draw a row of panels for each protocol, a line for each run; solvers are drawn in every row."""
        protocols = list(rows["protocol"].dropna().unique()) or ["none"]
        runs = pd.concat([rows[rows["protocol"].fillna(p).eq(p)].assign(row=p) for p in protocols], ignore_index=True)
        kinds = runs["protocol"].isna().map({True: "solver", False: "training"})
        runs = runs.assign(method=runs["method"].map(label_method), kind=kinds)
        grid = draw_lines(
            {label: runs.assign(y=runs[name]) for name, label in MEASURES.items()},
            x="seconds",
            style="kind",
            row="row",
            col="panel",
            units="seed",
            estimator=None,
            height=2.6,
            facet_kws={"sharey": "col", "margin_titles": True},
        )
        grid.set(xscale="log").set_axis_labels("seconds", "")
        grid.set_titles(row_template="protocol {row_name}", col_template="{col_name}")
        for axes in grid.axes.flat:
            axes.xaxis.set_minor_formatter(NullFormatter())  # a run takes seconds, and labels between decades overlap
        for axes in grid.axes[:, 0]:
            axes.set_yscale("log")
        for axes in grid.axes[:, 1:].flat:
            axes.set_ylim(-0.04, 1.04)
        figure: Figure = grid.figure
        return figure
