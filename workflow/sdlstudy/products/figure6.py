"""Figure 6: training with and without resampling of dead latents."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter, StrMethodFormatter
from pydantic import Field

from sdlstudy.products.product import Picture
from sdlstudy.rendering.figures import GREY, PALETTE, style
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
COLOURS = {"without": PALETTE[0], "with": PALETTE[3]}
Histories = Mapping[str, Mapping[int, pd.DataFrame]]
"""Side, "without" or "with" -> seed -> history; losses are sums over dimensions and means over the batches of a row."""


class Figure6(Picture):
    """Loss with and without resampling of dead latents."""

    keys = ("figures.figure6",)
    title = "Training with and without resampling of dead latents"
    caption = (
        "Thin lines are seeds, thick lines their means, dotted lines resamplings of dead latents. Resampled latents "
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

    def runs(self, study: Study, side: str) -> list[Cell]:
        """Return the runs of one side, ``with`` or ``without``."""
        return [Cell(self.source, self.sides()[side], self.protocol, "none", seed) for seed in study.seeds]

    def cells(self, study: Study) -> list[Cell]:
        return list(dict.fromkeys([*self.runs(study, "without"), *self.runs(study, "with")]))

    def unknown_names(self, path: str, study: Study) -> Iterator[str]:
        yield from super().unknown_names(path, study)
        for side, method in self.sides().items():
            yield from unknown(f"{path}.{side}", [method], study.methods, METHOD)

    def inputs(self, files: Files) -> list[str]:
        runs = self.cells(files.study)
        return [file for cell in runs for file in (files.history(cell), files.metrics(cell))]

    def histories(self, files: Files) -> Histories:
        """Return the histories of the runs."""
        return {
            side: {cell.seed: read_csv(files.history(cell)) for cell in self.runs(files.study, side)}
            for side in self.sides()
        }

    def rows(self, files: Files) -> pd.DataFrame:
        """Return a row for each run.

        Columns: variant ("without" or "with"), seed, final_loss (mean of the last tenth of the history's rows), fvu and
        dead_fraction (on samples that training did not see), resampled (total number of latents), events (history rows
        with a resampling), note (`NEVER_FIRED` for runs "with" that resampled nothing, else NaN).
        """
        rows, histories = [], self.histories(files)
        for side in self.sides():
            for cell in self.runs(files.study, side):
                history, metrics = histories[side][cell.seed], read_metrics(files.metrics(cell)).metrics
                last = max(1, round(FINAL_SHARE * len(history)))
                loss = float(history["reconstruction"].iloc[-last:].mean())
                resampled, events = int(history["resampled"].sum()), int((history["resampled"] > 0).sum())
                note = NEVER_FIRED if side == "with" and resampled == 0 else np.nan
                rows.append((side, cell.seed, loss, metrics["fvu"], metrics["dead_fraction"], resampled, events, note))
        return pd.DataFrame(rows, columns=COLUMNS)

    def draw(self, rows: pd.DataFrame, files: Files) -> Figure:
        """Draw reconstruction loss, its relative change by resampling, and dead fraction over steps.

        Thin lines are seeds, thick lines their means. Dotted lines are resamplings of dead latents.
        """
        histories = self.histories(files)
        labels = {"without": self.without, "with": self.with_}
        change = _curves(histories["with"], "reconstruction") / _curves(histories["without"], "reconstruction") - 1
        with style():
            figure = Figure(figsize=(7.0, 6.6), layout="constrained")
            panels = figure.subplots(3, 1, sharex=True, height_ratios=[3, 1.6, 1.8])
            loss, difference, dead = panels
            for side, runs in histories.items():
                for axes, column in ((loss, "reconstruction"), (dead, "dead_fraction")):
                    _draw(axes, _curves(runs, column), COLOURS[side], label_method(labels[side]))
            difference.axhline(0, color=GREY, linewidth=0.8)
            _draw(difference, change, COLOURS["with"])
            resampled = _curves(histories["with"], "resampled").sum(axis=1)
            for step in resampled.index[resampled > 0]:
                for axes in panels:
                    axes.axvline(step, color=GREY, linewidth=0.9, linestyle=":", zorder=0.5)
            loss.set_yscale("log")
            loss.set_ylabel("reconstruction loss\n(sum of squared errors\na sample, log scale)")
            # minor ticks are labelled too, because a range below a decade may contain no power of ten
            for axis in (loss.yaxis.set_major_formatter, loss.yaxis.set_minor_formatter):
                axis(StrMethodFormatter("{x:g}"))
            loss.tick_params(axis="y", which="minor", labelsize=7)
            difference.set_ylabel("change of loss\nby resampling")
            difference.yaxis.set_major_formatter(PercentFormatter(xmax=1))
            dead.set_ylabel("dead latents\n(fraction)")
            dead.set_ylim(bottom=0)
            dead.set_xlabel("training step")
            loss.legend(loc="upper right", frameon=True, edgecolor="none", framealpha=0.9)
            loss.set_title(f"on {self.source}, {rows['seed'].nunique()} seeds", loc="left")
            figure.align_ylabels(panels)
        return figure


def _curves(runs: Mapping[int, pd.DataFrame], column: str) -> pd.DataFrame:
    """Return one column of the histories of a side as a frame, steps x seeds."""
    return pd.DataFrame({seed: history.set_index("step")[column] for seed, history in runs.items()})


def _draw(axes: Axes, curves: pd.DataFrame, colour: str, label: str | None = None) -> None:
    axes.plot(curves.index, curves, color=colour, linewidth=0.7, alpha=0.45)
    axes.plot(curves.index, curves.mean(axis=1), color=colour, linewidth=1.8, label=label)
