"""The figure of Table 1: recovery in the paper, the nearest protocol, our runs, a null baseline, and chance."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from sdlcore.evaluation.metrics import SIDES
from sdlstudy.rendering.figures import GREY, PALETTE
from sdlstudy.rendering.labels import label_method
from sdlstudy.results.tables import PAPER_METHODS

PAPER = "the paper"
CHANCE = "chance"
NEAREST = "nearest protocol"
"""The way of training nearest to the paper's Table 1 that we know: the first author's recipe at ten times his learning
rate (docs/paper.md). Matryoshka and JumpReLU were not trained with it, so they have no such mark."""
LOOKS = {PAPER: ("black", "D"), NEAREST: ("black", "s"), CHANCE: (GREY, "v")}
"""Quantity with a single mark for each method -> colour and marker."""
CAPTION = (
    "Recovery without anchors; means over seeds. Our marks, the null baseline and chance count cosines above .9. The "
    "paper’s marks are the numbers that it prints, by inner products above .95. The nearest protocol is the first "
    "author’s recipe at ten times his learning rate; its step, and the rule that counts its features, are those that "
    "come nearest to Table 1 (docs/paper.md). The paper and this protocol are at the paper’s scale."
)


def overview_rows(table: pd.DataFrame, nearest: pd.DataFrame, methods: Sequence[str]) -> pd.DataFrame:
    """Return the marks of the figure: recovery without anchors, means over seeds; ours by cosines above .9.

    Parameters
    ----------
    table
        Table 1, as `sdlstudy.results.tables.table_over` returns it.
    nearest
        The numbers of the nearest protocol (`NEAREST`), by its own rule.
    methods
        The methods to show, in order.

    Returns
    -------
    DataFrame
        Columns method, mark (the legend's text) and recovery.
    """
    rows: list[tuple[str, str, Any]] = []
    plain = table[table["anchoring"] == "none"]
    several = plain["protocol"].nunique() > 1
    near = nearest[nearest["anchoring"] == "none"].set_index("method")["gt_recovery_percent"] / 100
    for method in methods:
        runs = plain[plain["method"] == method].to_dict("records")
        rows.append((method, PAPER, runs[0]["paper_gt_recovery"]))
        rows.append((method, NEAREST, near.get(PAPER_METHODS.get(method))))
        for run in runs:
            protocol = f" (protocol {run['protocol']})" if several else ""
            rows += [(method, f"our {side}{protocol}", run[f"gt_recovery_{side}_mean"]) for side in SIDES]
        rows.append((method, CHANCE, runs[0]["chance_gt_recovery_decoder_mean"]))
    return pd.DataFrame(rows, columns=["method", "mark", "recovery"])


def draw_overview(rows: pd.DataFrame, null: tuple[str, float] | None) -> Figure:
    """Draw the marks of `overview_rows`, a line for each method, and the strongest null baseline."""
    import seaborn

    methods, marks = rows["method"].unique().tolist(), rows["mark"].unique().tolist()
    ours = [mark for mark in marks if mark not in LOOKS]
    looks = LOOKS | {mark: (colour, "o") for mark, colour in zip(ours, PALETTE, strict=False)}
    # marks are shifted, so that equal values do not hide each other
    places = [methods.index(row.method) + 0.12 * (marks.index(row.mark) - len(marks) / 2) for row in rows.itertuples()]
    figure = Figure(figsize=(6.2, 0.42 * len(methods) + 1.6), layout="constrained")
    axes: Any = figure.subplots()
    colours, markers = {m: looks[m][0] for m in marks}, {m: looks[m][1] for m in marks}
    look: dict[str, Any] = {"hue": "mark", "style": "mark", "palette": colours, "markers": markers}
    seaborn.scatterplot(rows.assign(place=places), x="recovery", y="place", ax=axes, clip_on=False, **look)
    if null is not None:
        axes.axvline(null[1], color=GREY, linestyle="--", label=f"strongest null: {label_method(null[0])}")
    axes.set(xlim=(-0.02, 1.02), xlabel="features recovered", ylabel="")
    axes.xaxis.set_major_formatter("{x:.0%}")
    axes.set_yticks(range(len(methods)), [label_method(method) for method in methods])
    axes.invert_yaxis()
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2, fontsize=8)
    axes.get_legend().remove()
    return figure


def strongest_null(table: pd.DataFrame, nulls: Sequence[str]) -> tuple[str, float] | None:
    """Return the null baseline with the highest recovery at tau = .9, in encoder or decoder, and its recovery.

    None if no null baseline ran.
    """
    rows = table[table["anchoring"].eq("none") & table["method"].isin(list(nulls))]
    recovered = rows[[f"gt_recovery_{side}_mean" for side in SIDES]].max(axis="columns")
    if recovered.isna().all():
        return None
    best = int(recovered.argmax())
    return str(rows["method"].iloc[best]), float(recovered.iloc[best])
