"""Figure 6: training with and without resampling of dead latents."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, StrMethodFormatter
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

COLUMNS = [
    "variant",
    "seed",
    "final_loss",
    "fvu",
    "dead_fraction",
    "resampled",
    "events",
    "note",
]
# Rows of the history over which the final loss is averaged: single batches are noisy.
FINAL_SHARE = 0.1
NEVER_FIRED = "resampling never fired"
# With more events than LABELLED_EVENTS, they are marked without labels; with more than WORDED_EVENTS, only by numbers.
LABELLED_EVENTS = 12
WORDED_EVENTS = 4
COLOURS = {"without": PALETTE[0], "with": PALETTE[3]}
Histories = Mapping[str, Mapping[int, pd.DataFrame]]
"""Side, "without" or "with" -> seed -> history; losses are sums over dimensions and means over the batches of a row."""


class Figure6(Picture):
    """Loss with and without resampling of dead latents."""

    keys = ("figures.figure6",)
    title = "Training with and without resampling of dead latents"
    caption = (
        "Thin lines are seeds, thick lines their means. Numbers above the lowest panel count resampled latents (mean "
        "over seeds). Resampled latents start at badly reconstructed samples, so the loss can jump before it falls. "
        "They count as alive until they have been silent for long enough again."
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

        Thin lines are seeds, thick lines their means. Dotted lines are resamplings, with the number of latents (mean
        over seeds). The title names runs that resampled nothing.
        """
        every = files.study.methods[self.with_].resample_every
        labels = {"with": f"resampled every {every} steps" if every else self.with_, "without": "not resampled"}
        title, histories = f"{label_method(self.without)}, on {self.source}", self.histories(files)
        with style():
            figure = Figure(figsize=(7.0, 6.6), layout="constrained")
            loss, difference, dead = figure.subplots(3, 1, sharex=True, height_ratios=[3, 1.6, 1.8])
            # the curve drawn first is wider, to stay visible where both are equal
            for variant, width in (("without", 2.8), ("with", 1.6)):
                for axes, column in ((loss, "reconstruction"), (dead, "dead_fraction")):
                    curves = _curves(histories, variant, column)
                    axes.plot(curves.index, curves, color=COLOURS[variant], linewidth=0.7, alpha=0.45)
                    mean = curves.mean(axis=1)
                    axes.plot(mean.index, mean, color=COLOURS[variant], linewidth=width, label=labels[variant])
            change = _curves(histories, "with", "reconstruction") / _curves(histories, "without", "reconstruction") - 1
            difference.axhline(0, color=GREY, linewidth=0.8)
            difference.plot(change.index, change, color=COLOURS["with"], linewidth=0.7, alpha=0.45)
            difference.plot(change.index, change.mean(axis=1), color=COLOURS["with"], linewidth=1.8)
            loss.set_yscale("log")
            loss.set_ylabel("reconstruction loss\n(sum of squared errors\na sample, log scale)")
            # minor ticks are labelled too, because a range below a decade may contain no power of ten
            for axis in (loss.yaxis.set_major_formatter, loss.yaxis.set_minor_formatter):
                axis(StrMethodFormatter("{x:g}"))
            loss.tick_params(axis="y", which="minor", labelsize=7)
            difference.set_ylabel("change of loss\nby resampling")
            difference.yaxis.set_major_formatter(lambda x, _: f"{100 * x:+g} %" if x else "0")
            difference.yaxis.set_major_locator(MaxNLocator(5))
            dead.set_ylabel("dead latents\n(fraction)")
            dead.set_ylim(bottom=0)
            dead.set_xlabel("training step")
            dead.xaxis.set_major_locator(MaxNLocator(integer=True))
            _mark_events(histories, (loss, difference, dead))
            seeds = sorted(histories["with"])
            handles, _ = loss.get_legend_handles_labels()
            if len(seeds) > 1:
                handles.append(Line2D([], [], color=GREY, linewidth=0.7, label=f"single seeds ({_names(seeds)})"))
            if _events(histories).any():
                handles.append(
                    Line2D([], [], color=GREY, linewidth=0.9, linestyle=":", label="resampling of dead latents")
                )
            loss.legend(handles=handles, loc="upper right", frameon=True, edgecolor="none", framealpha=0.9)
            loss.set_title(title + _never_fired(histories), loc="left")
            figure.align_ylabels([loss, difference, dead])
        return figure


def _names(seeds: Sequence[int]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def _curves(histories: Histories, variant: str, column: str) -> pd.DataFrame:
    """Return one column of the histories of a variant as a frame, steps x seeds."""
    return pd.DataFrame({seed: history.set_index("step")[column] for seed, history in histories[variant].items()})


def _events(histories: Histories) -> pd.Series:
    """Return the mean number of resampled latents over seeds, for the steps with a resampling."""
    resampled = _curves(histories, "with", "resampled").mean(axis=1)
    return resampled[resampled > 0]


def _count(mean: float) -> str:
    return f"{mean:.0f}" if mean >= 10 else f"{mean:.2g}"


def _mark_events(histories: Histories, panels: Sequence[Any]) -> None:
    events = _events(histories)
    for step, count in events.items():
        for axes in panels:
            axes.axvline(step, color=GREY, linewidth=0.9, linestyle=":", zorder=0.5)
        if len(events) <= LABELLED_EVENTS:
            # just above the panel of dead latents, which is free of curves and legends
            panels[2].annotate(
                _count(count) + (" resampled" if len(events) <= WORDED_EVENTS else ""),
                (step, 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(0, 2),
                textcoords="offset points",
                ha="center",
                va="bottom",
                fontsize=8,
                color=GREY,
            )


def _never_fired(histories: Histories) -> str:
    """Return a line for the title that names runs without any resampling; empty without such runs."""
    silent = [seed for seed, history in histories["with"].items() if history["resampled"].sum() == 0]
    if not silent:
        return ""
    all_silent = len(silent) == len(histories["with"])
    consequence = ", so this figure does not show its effect." if all_silent else "."
    return f"\n{NEVER_FIRED.capitalize()} in {_names(silent)}{consequence}"
