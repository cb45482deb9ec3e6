"""Judge where anchoring helps, where it harms, and where the seeds cannot decide; draw the verdicts as a map."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from sdlcore import paired_interval
from sdlcore.data.recovery_rule import TAU_STRICT
from sdlstudy.rendering.figures import GREY, PALETTE, style
from sdlstudy.rendering.labels import label_method
from sdlstudy.rendering.text_table import TextTable

RUN_COLUMNS = [
    *("source", "method", "protocol", "anchoring", "seed", "lambda_anchor", "judged", "given"),
    *(f"{name}{side}" for name in ("recovery", "given_recovered", "absorption", "fvu") for side in ("", "_none")),
]
"""Columns of the table of runs with anchors. ``judged``: number of features that no anchoring gives away, over which
``recovery`` is computed; ``given``: number of features that the run's own anchors give away; ``*_none``: the value of
the same run without anchors."""
MEASURES = {"recovery": 1, "absorption": -1}
"""Measure -> 1 if higher is better, -1 if lower is better."""
HELPS, HARMS, UNTOLD, POWERLESS = "helps", "harms", "cannot tell", "no power"
COLOURS = {HELPS: PALETTE[0], HARMS: PALETTE[3], UNTOLD: (0.93, 0.93, 0.93), POWERLESS: (1.0, 1.0, 1.0)}
NO_HARM = -0.5
"""An anchoring does no harm if the intervals of all its cells stay above this, in points."""
KEPT = 95
"""Share of the anchored features, in per cent, that a good anchoring recovers in every cell."""


def map_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Judge each cell of the map by its runs.

    Parameters
    ----------
    runs
        One row for each run with anchors, with the columns `RUN_COLUMNS`.

    Returns
    -------
    DataFrame
        One row for each source x method x measure x anchoring. ``seeds`` counts seeds; ``judged`` and ``given`` are
        mean numbers of features. The columns are in per cent: ``none`` (the mean without anchors), ``difference`` (with
        minus without anchors, paired by seed), ``low`` and ``high`` (its 95 % t interval). ``verdict`` is the
        judgement. The shares of anchored features recovered with and without anchors, in per cent, are
        ``given_recovered`` and ``given_recovered_none``. Measures without values are left out.
    """
    rows = []
    keys = ["source", "method", "anchoring"]
    for key, cell in runs.groupby(keys, sort=False):
        for measure, better in MEASURES.items():
            with_, without = (100 * cell[name].to_numpy(float) for name in (measure, f"{measure}_none"))
            if np.isnan(with_).all():
                continue
            difference, low, high = paired_interval(with_ - without)
            rows.append(
                {
                    **dict(zip(keys, map(str, key), strict=True)),
                    "measure": measure,
                    "seeds": len(cell),
                    **{name: float(cell[name].mean()) for name in ("judged", "given")},
                    "none": float(without.mean()),
                    **{"difference": difference, "low": low, "high": high},
                    "verdict": verdict(with_, without, better),
                    **{name: 100 * float(cell[name].mean()) for name in ("given_recovered", "given_recovered_none")},
                }
            )
    return pd.DataFrame(rows)


def verdict(with_: np.ndarray, without: np.ndarray, better: int = 1) -> str:
    """Judge percentages with and without anchors, paired by seed.

    The verdict is "helps" if the 95 % t interval of the differences is on the better side of 0, and "harms" if it is on
    the other side. The verdict is "no power" if all values on both sides are 0, or all are 100, so that no difference
    could show. Otherwise it is "cannot tell".
    """
    values = np.concatenate([with_, without])
    if (values == 0).all() or (values == 100).all():
        return POWERLESS
    _, low, high = paired_interval(better * (with_ - without))
    return HELPS if low > 0 else HARMS if high < 0 else UNTOLD


def finding(table: pd.DataFrame) -> str:
    """Name in a sentence the anchorings that do no harm anywhere and keep their features; then the others without a
    verdict of harm."""
    good, unshown = [], {}
    for anchoring, cells in table.groupby("anchoring", sort=False):
        lowest = _lowest(cells)
        if lowest > NO_HARM and (cells["given_recovered"] >= KEPT).all():
            good.append(_name(str(anchoring)))
        elif not (cells["verdict"] == HARMS).any():
            unshown[_name(str(anchoring))] = lowest
    criterion = (
        f"keeps every interval above {NO_HARM:g} points and recovers {KEPT} % of the anchored features in every regime"
    )
    tried = table["anchoring"].nunique()
    sentences = [
        f"{', '.join(good)} of {tried} anchorings {criterion}." if good else f"None of {tried} anchorings {criterion}."
    ]
    if unshown:
        reach = ", ".join(f"{name} (lowest end {lowest:.1f})" for name, lowest in unshown.items())
        sentences.append(f"Not shown to harm anywhere, though it may: {reach}.")
    return " ".join(sentences)


def _lowest(cells: pd.DataFrame) -> float:
    """Return the worst end of the intervals of cells with power, in points; negative values are harms.

    NaN if a cell has no interval, 0 if no cell has power.
    """
    powered = cells[cells["verdict"] != POWERLESS]
    ends = [row["low"] if MEASURES[row["measure"]] > 0 else -row["high"] for _, row in powered.iterrows()]
    return float(np.min(ends)) if ends else 0.0


def map_text(table: pd.DataFrame) -> TextTable:
    """Return a table with a row for each anchoring, which counts its cells by verdict."""
    rows = []
    for anchoring, cells in table.groupby("anchoring", sort=False):
        counts = [str(int((cells["verdict"] == which).sum())) for which in COLOURS]
        recovery = cells[cells["measure"] == "recovery"]
        mean = recovery["given_recovered"]
        worst = recovery.iloc[int(mean.argmin())]
        rows.append(
            [
                _name(str(anchoring)),
                *counts,
                f"{_lowest(cells):.1f}",
                f"{(mean >= KEPT).sum()} of {len(mean)}",
                f"{worst['given_recovered']:.0f} % ({_regime(worst)})",
            ]
        )
    heads = ["anchoring", *COLOURS, "worst end of an interval", f"regimes with {KEPT} % of the anchored", "fewest"]
    seeds, powered = int(table["seeds"].max()), int((table["verdict"] != POWERLESS).sum())
    caption = (
        f"{finding(table)} The table counts cells of the map, {len(table)} in all, with {seeds} seeds each. A cell is "
        "about one measure: the share of features other than anchors that decoder columns recover (cosine above "
        f"{TAU_STRICT:g}), or the share of absorbed pairs of parent and child. It shows the difference to the same "
        "runs without anchors, paired by seed, in points, with its 95 % t interval. Anchoring *helps* or *harms* if "
        "the interval excludes 0. The cell has *no power* if every seed of both sides is at 0 or at 100 %. Verdicts "
        f"are not corrected for the number of cells: of {powered} with power, about {0.05 * powered:.0f} would help or "
        "harm by chance if anchoring had no effect. "
        f"{_shared(table)}"
    )
    return TextTable(caption, pd.DataFrame(rows, columns=heads), 1)


def _shared(table: pd.DataFrame) -> str:
    """Count in a sentence the groups of cells that share runs without anchors."""
    group = ["source", "method", "measure"]
    helped, harmed = (len(table[table["verdict"] == which].groupby(group)) for which in (HELPS, HARMS))
    return (
        "Cells of one regime and measure are not independent, since they share the runs without anchors: of "
        f"{len(table.groupby(group))} such groups, {helped} contain a cell that helps and {harmed} a cell that harms."
    )


def figure_map(table: pd.DataFrame) -> Figure:
    """Draw the map: a row for each source, method and measure, a column for each anchoring, coloured by verdict.

    Parameters
    ----------
    table
        As `map_table` returns it.
    """
    columns = list(table["anchoring"].unique())
    places = list(dict.fromkeys(zip(table["source"], table["method"], table["measure"], strict=True)))
    with style():
        figure = Figure(figsize=(2.6 + 1.25 * len(columns), 1.4 + 0.55 * len(places)), layout="constrained")
        axes = figure.subplots()
        axes.grid(visible=False)
        for _, row in table.iterrows():
            x, y = columns.index(row["anchoring"]), places.index((row["source"], row["method"], row["measure"]))
            colour, ink = COLOURS[row["verdict"]], "white" if row["verdict"] in (HELPS, HARMS) else "black"
            axes.add_patch(Rectangle((x, y), 1, 1, facecolor=colour, edgecolor="white", linewidth=1.5))
            text = f"{row['difference']:+.1f}\n{row['low']:+.1f} to {row['high']:+.1f}"
            if row["verdict"] == POWERLESS:
                text = f"both {row['none']:.0f} %"
            axes.text(x + 0.5, y + 0.36, text, ha="center", va="center", fontsize=6.5, color=ink)
            if row["measure"] == "recovery":
                anchored_text = f"anchored: {row['given_recovered']:.0f} %"
                axes.text(x + 0.5, y + 0.82, anchored_text, ha="center", va="center", fontsize=5.5, color=ink)
        first = table.drop_duplicates(["source", "method", "measure"])
        labels = [f"{_regime(row)}\n{row['measure']} without: {row['none']:.0f} %" for _, row in first.iterrows()]
        axes.set(xlim=(0, len(columns)), ylim=(len(places), 0))
        axes.set_yticks([y + 0.5 for y in range(len(places))], labels, fontsize=7)
        axes.set_xticks([x + 0.5 for x in range(len(columns))], [_name(name) for name in columns], fontsize=7.5)
        axes.xaxis.tick_top()
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        patches = [Patch(facecolor=c, edgecolor=GREY, linewidth=0.5, label=name) for name, c in COLOURS.items()]
        figure.legend(handles=patches, loc="outside lower center", ncols=len(patches), fontsize=8)
    return figure


def _name(name: str) -> str:
    return name.replace("_", " ")


def _regime(row: pd.Series) -> str:
    return f"{_name(row['source'])}, {label_method(row['method'])}"
