"""Draw Figure 6: training with and without resampling of dead latents."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from sdlstudy.rendering.figures import GREY, PALETTE, style
from sdlstudy.results.runs import RunsError, read_metrics

HISTORY_COLUMNS = ["step", "reconstruction", "dead_fraction", "resampled"]
SUMMARY_COLUMNS = [
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


class Trained(NamedTuple):
    """The history and metrics of a finished run."""

    history: pd.DataFrame
    """The rows of history.csv; losses are sums over dimensions and means over the batches of a row."""
    metrics: Mapping[str, float | None]


def read_histories(directories: Sequence[str | Path]) -> dict[int, Trained]:
    """Read the runs of one variant.

    Parameters
    ----------
    directories
        Run directories with history.csv and metrics.json.

    Returns
    -------
    dict
        Seed -> run, in ascending order of seeds.

    Raises
    ------
    RunsError
        If a file lacks a column or a metric, a history is empty, a seed is doubled, or there are no directories.
    """
    runs: dict[int, Trained] = {}
    for directory in map(Path, directories):
        run = read_metrics(directory / "metrics.json")
        seed = run.cell.seed
        if seed in runs:
            raise RunsError(f"{directory}: a second run with seed {seed}, expected each seed once for a variant")
        for name in ("fvu", "dead_fraction"):
            if name not in run.metrics:
                raise RunsError(f"{directory / 'metrics.json'}: metrics.{name} is missing, expected a number")
        history = pd.read_csv(directory / "history.csv")
        for column in HISTORY_COLUMNS:
            if column not in history:
                raise RunsError(f"{directory / 'history.csv'}: column {column} is missing")
        if history.empty:
            raise RunsError(f"{directory / 'history.csv'}: no rows, expected at least one")
        runs[seed] = Trained(history, run.metrics)
    if not runs:
        raise RunsError("no run directory was given for a variant, expected at least one")
    return dict(sorted(runs.items()))


Histories = Mapping[str, Mapping[int, Trained]]


def check_pairs(histories: Histories) -> None:
    """Check that the variants "without" and "with" have the same seeds and steps.

    Raises
    ------
    RunsError
        If seeds or steps differ, or a run "without" resampled latents.
    """
    without, with_ = histories["without"], histories["with"]
    if set(without) != set(with_):
        raise RunsError(
            f"runs without resampling have seeds {sorted(without)}, runs with it {sorted(with_)}, expected the same"
        )
    steps = next(iter(without.values()))[0]["step"]
    for variant in ("without", "with"):
        for seed, (history, _) in histories[variant].items():
            if not np.array_equal(history["step"], steps):
                raise RunsError(
                    f"the run {variant} resampling with seed {seed} has other steps in its history than the first run"
                )
    for seed, (history, _) in without.items():
        if history["resampled"].sum() > 0:
            raise RunsError(f"the run without resampling with seed {seed} did resample latents, expected none")


def figure6_summary(histories: Histories) -> pd.DataFrame:
    """Summarise the runs of figure 6, with one row for each run.

    Returns
    -------
    DataFrame
        Columns variant ("without" or "with"), seed, final_loss (mean of the last tenth of the history's rows), fvu and
        dead_fraction (on samples that training did not see), resampled (total number of latents), events (history rows
        with a resampling), note (`NEVER_FIRED` for runs "with" that resampled nothing, else NaN).
    """
    check_pairs(histories)
    rows = []
    for variant in ("without", "with"):
        for seed, (history, metrics) in histories[variant].items():
            last = max(1, round(FINAL_SHARE * len(history)))
            resampled = int(history["resampled"].sum())
            note = NEVER_FIRED if variant == "with" and resampled == 0 else np.nan
            events = int((history["resampled"] > 0).sum())
            values = metrics["fvu"], metrics["dead_fraction"], resampled, events, note
            rows.append((variant, seed, float(history["reconstruction"].iloc[-last:].mean()), *values))
    return pd.DataFrame(rows, columns=SUMMARY_COLUMNS)


def figure6(histories: Histories, labels: Mapping[str, str], title: str = "") -> Figure:
    """Draw training with and without resampling of dead latents (the paper's figure 6).

    Parameters
    ----------
    histories
        "without" and "with" -> seed -> (history, metrics), as `read_histories` returns them.
    labels
        "without" and "with" -> label in the legend.
    title
        Title: method and source.

    Returns
    -------
    Figure
        Reconstruction loss, its relative change by resampling, and dead fraction over steps. Thin lines are seeds,
        thick lines their means. Dotted lines are resamplings, with the number of latents (mean over seeds). The title
        names runs that resampled nothing.
    """
    check_pairs(histories)
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
            handles.append(Line2D([], [], color=GREY, linewidth=0.9, linestyle=":", label="resampling of dead latents"))
        loss.legend(handles=handles, loc="upper right", frameon=True, edgecolor="none", framealpha=0.9)
        loss.set_title(title + _never_fired(histories), loc="left")
        figure.align_ylabels([loss, difference, dead])
    return figure


def _names(seeds: Sequence[int]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def _curves(histories: Histories, variant: str, column: str) -> pd.DataFrame:
    """Return one column of the histories of a variant as a frame, steps x seeds."""
    return pd.DataFrame({seed: history.set_index("step")[column] for seed, (history, _) in histories[variant].items()})


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
    silent = [seed for seed, (history, _) in histories["with"].items() if history["resampled"].sum() == 0]
    if not silent:
        return ""
    all_silent = len(silent) == len(histories["with"])
    consequence = ", so this figure does not show its effect." if all_silent else "."
    return f"\n{NEVER_FIRED.capitalize()} in {_names(silent)}{consequence}"
