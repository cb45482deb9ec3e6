"""Figure 6: training with and without resampling of dead latents."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from pydantic import Field

from sdlstudy.products.product import Product
from sdlstudy.rendering.figures import draw_lines
from sdlstudy.rendering.labels import label_method
from sdlstudy.results.runs import read_metrics
from sdlstudy.results.tables import read_csv
from sdlstudy.settings.cells import Cell
from sdlstudy.settings.fields import Identifier
from sdlstudy.settings.files import Files
from sdlstudy.settings.names import METHOD, unknown
from sdlstudy.settings.study import Study

COLUMNS = ["variant", "seed", "final_loss", "fvu", "dead_fraction", "resampled", "events", "note"]
# Rows of the history over which the final loss is averaged: single batches are noisy.
FINAL_SHARE = 0.1
NEVER_FIRED = "resampling never fired"


class Figure6(Product):
    """Loss with and without resampling of dead latents."""

    keys = ("figures.figure6",)
    title = "Training with and without resampling of dead latents"
    caption = (
        "Lines are means, bands contain all seeds; dotted lines are resamplings of dead latents. Resampled latents "
        "start at badly reconstructed samples, so the loss can jump before it falls. They count as alive until they "
        "have been silent for long enough again."
    )

    source: Identifier
    without: Identifier
    """A method that does not resample."""
    with_: Identifier = Field(alias="with")
    """The same method with resampling."""
    protocol: Identifier = "best"

    def sides(self) -> dict[str, str]:
        """Return the method of each side, ``without`` and ``with`` resampling."""
        return {"without": self.without, "with": self.with_}

    def run(self, side: str, seed: int) -> Cell:
        """Return the run of one side and seed."""
        return Cell(self.source, self.sides()[side], self.protocol, "none", seed)

    def cells(self, study: Study) -> list[Cell]:
        return list(dict.fromkeys(self.run(side, seed) for side in self.sides() for seed in study.seeds))

    def unknown_names(self, path: str, study: Study) -> Iterator[str]:
        yield from super().unknown_names(path, study)
        for side, method in self.sides().items():
            yield from unknown(f"{path}.{side}", [method], study.methods, METHOD)

    def inputs(self, files: Files) -> list[str]:
        runs = self.cells(files.study)
        return [file for cell in runs for file in (files.history(cell), files.metrics(cell))]

    def histories(self, files: Files) -> pd.DataFrame:
        """Return the rows of all histories; losses are sums over dimensions and means over the batches of a row."""
        frames = [
            read_csv(files.history(self.run(side, seed))).assign(variant=side, seed=seed)
            for side in self.sides()
            for seed in files.study.seeds
        ]
        return pd.concat(frames, ignore_index=True)

    def rows(self, files: Files) -> pd.DataFrame:
        """Return a row for each run.

        Columns: variant ("without" or "with"), seed, final_loss (mean of the last tenth of the history's rows), fvu and
        dead_fraction (on samples that training did not see), resampled (total number of latents), events (history rows
        with a resampling), note (`NEVER_FIRED` for runs "with" that resampled nothing, else NaN).
        """
        rows = []
        group: Any
        for group, history in self.histories(files).groupby(["variant", "seed"], sort=False):
            side, seed = group
            metrics = read_metrics(files.metrics(self.run(side, seed))).metrics
            last = max(1, round(FINAL_SHARE * len(history)))
            loss = float(history["reconstruction"].iloc[-last:].mean())
            resampled, events = int(history["resampled"].sum()), int((history["resampled"] > 0).sum())
            note = NEVER_FIRED if side == "with" and resampled == 0 else np.nan
            rows.append((side, seed, loss, metrics["fvu"], metrics["dead_fraction"], resampled, events, note))
        return pd.DataFrame(rows, columns=COLUMNS)

    def draw(self, rows: pd.DataFrame, files: Files) -> Figure:
        """Draw reconstruction loss, its relative change by resampling, and dead fraction over steps."""
        methods = {side: label_method(method) for side, method in self.sides().items()}
        steps = self.histories(files)
        steps["method"] = steps["variant"].map(methods)
        loss = steps.pivot(index=["step", "seed"], columns="variant", values="reconstruction")
        change = (loss["with"] / loss["without"] - 1).rename("y").reset_index().assign(method=methods["with"])
        panels = {
            "reconstruction loss": steps.assign(y=steps["reconstruction"]),
            "relative change of loss": change,
            "dead latents (fraction)": steps.assign(y=steps["dead_fraction"]),
        }
        grid = draw_lines(
            panels,
            x="step",
            row="panel",
            errorbar=("pi", 100),
            height=2.2,
            aspect=2.8,
            facet_kws={"sharey": False},
        )
        grid.set_titles("{row_name}").set_axis_labels("training step", "")
        grid.axes[0, 0].set_yscale("log")
        for step in steps.loc[steps["resampled"] > 0, "step"].unique():
            grid.refline(x=step, linestyle=":", linewidth=0.9)
        figure: Figure = grid.figure
        return figure
