"""Draw loss and recovery over seconds, of gradient training and of solvers."""

from collections.abc import Iterable
from itertools import cycle
from statistics import median
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from sdlcore.evaluation.metric_names import recovery_name
from sdlstudy.rendering.figures import PALETTE, style
from sdlstudy.rendering.labels import label_method

DECODER, ENCODER = recovery_name("decoder"), recovery_name("encoder")
COURSE_COLUMNS = ["method", "protocol", "seed", "step", "seconds", "fvu", DECODER, ENCODER]
MEASURES = {
    "fvu": "variance unexplained\n(training batches)",
    DECODER: "recovered by the decoder\n(share of features)",
    ENCODER: "recovered by the encoder\n(share of features)",
}
RECOVERED = 0.99
"""Share of features at which `seconds_to_recovery` stops the clock."""


class Course(NamedTuple):
    """A run, and its history with recovery in each row (`sdlcore.training.watch`)."""

    method: str
    protocol: str | None
    """None for solvers and imported dictionaries, which take no settings from protocols."""
    seed: int
    history: pd.DataFrame


def course(runs: Iterable[Course]) -> pd.DataFrame:
    """Join the histories of several runs into one frame with the columns `COURSE_COLUMNS`.

    A solver fits its encoder after its search, so the encoder's recovery is NaN in its history.
    """
    frames = [
        run.history.assign(method=run.method, protocol=run.protocol, seed=run.seed).reindex(columns=COURSE_COLUMNS)
        for run in runs
    ]
    return pd.concat(frames, ignore_index=True)


def seconds_to_recovery(rows: pd.DataFrame) -> dict[tuple[str, str | None], list[float | None]]:
    """Return the seconds until each run's decoder recovered `RECOVERED` of the features; None if it never did.

    Parameters
    ----------
    rows
        As `course` returns them.

    Returns
    -------
    Seconds of each seed, by method and protocol (None for a solver).
    """
    seconds: dict[tuple[str, str | None], list[float | None]] = {}
    for _, run in rows.groupby(["method", "protocol", "seed"], sort=False, dropna=False):
        times = run.loc[run[DECODER] >= RECOVERED, "seconds"]
        protocol = None if run["protocol"].isna().all() else str(run["protocol"].iloc[0])
        key = str(run["method"].iloc[0]), protocol
        seconds.setdefault(key, []).append(None if times.empty else float(times.iloc[0]))
    return seconds


def convergence_sentence(rows: pd.DataFrame) -> str:
    """Return a sentence with the median seconds until the decoders recover nearly all features."""
    several = rows["protocol"].nunique() > 1
    parts = []
    for (method, protocol), seconds in seconds_to_recovery(rows).items():
        name = f"{label_method(method)} ({protocol})" if several and protocol is not None else label_method(method)
        reached = [value for value in seconds if value is not None]
        text = f"{median(reached):.3g} s" if reached else "never"
        some = f" in {len(reached)} of {len(seconds)} seeds" if 0 < len(reached) < len(seconds) else ""
        parts.append(f"{name} {text}{some}")
    return f"Until the decoder recovers {RECOVERED:.0%} of the features: {'; '.join(parts)}."


def figure_convergence(rows: pd.DataFrame) -> Figure:
    """Draw error and recovery over seconds: a row of panels for each protocol, a line for each run.

    Solvers are drawn in every row.

    Parameters
    ----------
    rows
        As `course` returns them.
    """
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
