"""The figure of Table 1: recovery in the paper, the nearest protocol, our runs, a null baseline, and chance."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from sdlcore.data.recovery_rule import TAU
from sdlcore.evaluation.metric_names import Baseline, baseline_name, recovery_name
from sdlstudy.products.product import Picture
from sdlstudy.rendering.figures import GREY, PALETTE, style
from sdlstudy.rendering.labels import label_method
from sdlstudy.results.tables import PAPER_METHODS, read_csv
from sdlstudy.settings.fields import Names
from sdlstudy.settings.files import Files

COLUMNS = ["method", "protocol", "what", "recovery"]
PAPER = "the paper"
NEAREST = "nearest protocol"
"""The way of training nearest to the paper's Table 1 that we know: the first author's recipe at ten times his learning
rate (docs/paper.md). Matryoshka and JumpReLU were not trained with it, so they have no such mark."""
NULL = "null baseline"
SIDES = {"encoder": PALETTE[1], "decoder": PALETTE[0]}
FILLS = ("full", "none")
"""Marker fill of the first protocol and of the second."""
ALONE: dict[str, dict[str, Any]] = {
    Baseline.CHANCE: {"linestyle": "none", "marker": "|", "color": GREY, "markersize": 11},
    PAPER: {"linestyle": "none", "marker": "D", "color": "black", "markersize": 6},
    NEAREST: {"linestyle": "none", "marker": "s", "color": "black", "fillstyle": "none", "markersize": 8},
}
"""Quantity with a single marker for each method -> the marker's look."""
WIDTH = 6.2
"""Width in inches, so that text stays legible on the screen of a phone."""


class Overview(Picture):
    """Figure of the recovery of Table 1's dictionaries without anchors, beside the paper's numbers."""

    title = "Table 1 at a glance"
    caption = (
        "Means over seeds, without anchors; cosines above .9. The paper’s numbers and those of the nearest protocol "
        "are at the paper’s scale. The nearest protocol is the recipe of the paper’s first author at ten times his "
        "learning rate, stopped where it comes nearest to Table 1, and read in the way that brings it nearest "
        "(docs/paper.md)."
    )

    table: str
    """The table that the figure is drawn from."""
    methods: Names
    nulls: list[str] = []
    """Null baselines. Only the strongest is shown."""

    def inputs(self, files: Files) -> list[str]:
        return [files.table(self.table), files.nearest_protocol]

    def rows(self, files: Files) -> pd.DataFrame:
        """Return the numbers of the figure; see `overview_rows`."""
        table, nearest = read_csv(files.table(self.table)), read_csv(files.nearest_protocol)
        return overview_rows(table, nearest, self.methods, self.nulls)

    def draw(self, rows: pd.DataFrame, files: Files) -> Figure:
        """Draw recovery, one line for each method."""
        null, rows = rows[rows["what"] == NULL], rows[rows["what"] != NULL]
        methods = list(rows["method"].unique())
        protocols = list(rows["protocol"].dropna().unique())
        with style():
            figure = Figure(figsize=(WIDTH, 0.36 * len(methods) + 1.5), layout="constrained")
            axes: Any = figure.subplots()
            for place, method in enumerate(methods):
                method_rows = rows[rows["method"] == method]
                for what, look in ALONE.items():
                    axes.plot(method_rows.loc[method_rows["what"] == what, "recovery"], [place], clip_on=False, **look)
                # marks are shifted, so that equal values do not hide each other
                marks = [(side, *mark) for mark in zip(FILLS, protocols, strict=False) for side in SIDES]
                for number, (side, fill, protocol) in enumerate(marks):
                    chosen = method_rows[(method_rows["what"] == side) & (method_rows["protocol"] == protocol)]
                    at = [place + 0.16 * (number - (len(marks) - 1) / 2)] * len(chosen)
                    colour = SIDES[side]
                    axes.plot(chosen["recovery"], at, "o", color=colour, fillstyle=fill, markersize=6, clip_on=False)
            axes.set_xlim(-0.02, 1.02)
            axes.xaxis.set_major_formatter("{x:.0%}")
            axes.set_xlabel(f"features recovered (cosine above {TAU:g})")
            axes.set_yticks(range(len(methods)), [label_method(method) for method in methods])
            axes.set_ylim(len(methods) - 0.5, -0.5)
            handles = [axes.plot([], [], label=what, **ALONE[what])[0] for what in (PAPER, NEAREST)]
            for fill, protocol in zip(FILLS, protocols, strict=False):
                for side, colour in SIDES.items():
                    trained = f" (protocol {protocol})" if len(protocols) > 1 else ""
                    how = {"marker": "o", "color": colour, "fillstyle": fill, "label": f"our {side}{trained}"}
                    handles += axes.plot([], [], linestyle="none", **how)
            handles += axes.plot([], [], label=Baseline.CHANCE, **ALONE[Baseline.CHANCE])
            for _, row in null.iterrows():
                label = f"strongest null: {label_method(row['method'])}"
                handles.append(
                    axes.axvline(
                        row["recovery"], color=PALETTE[2], linestyle="--", linewidth=1.2, zorder=1, label=label
                    )
                )
            figure.legend(handles=handles, loc="outside upper center", ncols=2, fontsize=8, handletextpad=0.4)
        return figure


def overview_rows(
    table: pd.DataFrame, nearest: pd.DataFrame, methods: Sequence[str], nulls: Sequence[str] = ()
) -> pd.DataFrame:
    """Return the numbers of the figure: recovery at tau = .9 without anchors, by cosines, means over seeds.

    Parameters
    ----------
    table
        Table 1, as `sdlstudy.rendering.sweeps.table_over` returns it.
    nearest
        The numbers of the nearest protocol (`NEAREST`) under its own reading.
    methods
        The methods to show, in order.
    nulls
        Null baselines. Only the strongest is shown.

    Returns
    -------
    DataFrame
        Columns `COLUMNS`; ``what`` is the paper, nearest protocol, encoder, decoder, chance or null baseline. Only rows
        of encoders and decoders have a protocol. The method of the null baseline's row is its own name.
    """
    rows: list[dict[str, Any]] = []
    plain = table[table["anchoring"] == "none"]
    searched = nearest[nearest["anchoring"] == "none"].set_index("method")["gt_recovery_percent"] / 100
    for method in methods:
        method_rows = plain[plain["method"] == method]
        first = method_rows.iloc[0]
        rows.append({"method": method, "what": PAPER, "recovery": first["paper_gt_recovery"]})
        rows.append({"method": method, "what": NEAREST, "recovery": searched.get(PAPER_METHODS.get(method))})
        for row in method_rows.to_dict("records"):
            rows += [
                {"method": method, "protocol": row["protocol"], "what": side, "recovery": row[_recovery(side)]}
                for side in SIDES
            ]
        level = f"{baseline_name(Baseline.CHANCE, recovery_name('decoder'))}_mean"
        rows.append({"method": method, "what": Baseline.CHANCE, "recovery": first[level]})
    null = strongest_null(plain, nulls)
    if null is not None:
        rows.append({"method": null[0], "what": NULL, "recovery": null[1]})
    return pd.DataFrame(rows, columns=COLUMNS)


def strongest_null(table: pd.DataFrame, nulls: Sequence[str]) -> tuple[str, float] | None:
    """Return the null baseline with the highest recovery at tau = .9, in encoder or decoder, and its recovery.

    None if no null baseline ran.
    """
    rows = table[table["method"].isin(list(nulls))]
    recovered = rows[[_recovery(side) for side in SIDES]].max(axis="columns")
    if recovered.isna().all():
        return None
    best = int(recovered.argmax())
    return str(rows["method"].iloc[best]), float(recovered.iloc[best])


def _recovery(side: str) -> str:
    return f"{recovery_name(side)}_mean"
