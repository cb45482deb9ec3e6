"""Draw what dictionaries recover beside the paper's numbers, and chance."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from sdlcore.data.recovery_rule import TAU_STRICT
from sdlcore.evaluation.metrics import CHANCE, baseline_name, mip_name, recovery_name
from sdlcore.study.rendering.figures import GREY, PALETTE, style
from sdlcore.study.rendering.markup import label_method

COLUMNS = ["method", "protocol", "what", "recovery", "mip"]
PAPER = "the paper"
SIDES = {"encoder": PALETTE[1], "decoder": PALETTE[0]}
FILLS = ("full", "none")
"""Of the first protocol, and of the second."""


def overview_rows(table: pd.DataFrame, methods: Sequence[str]) -> pd.DataFrame:
    """Return what is drawn: recovery at .95 and MIP of dictionaries without anchors, by cosines, means over seeds.

    Parameters
    ----------
    table
        Table 1, as `sdlcore.study.rendering.sweeps.table_over` returns it.
    methods
        Those that are shown, in order.

    Returns
    -------
    DataFrame
        Columns `COLUMNS`; ``what`` is the paper, encoder, decoder or chance. The paper's have no protocol.
    """
    rows: list[dict[str, Any]] = []
    plain = table[table["anchoring"] == "none"]
    for method in methods:
        own = plain[plain["method"] == method]
        first = own.iloc[0]
        rows.append(
            {"method": method, "what": PAPER, "recovery": first["paper_gt_recovery"], "mip": first["paper_mip"]}
        )
        for row in own.to_dict("records"):
            for side in SIDES:
                names = recovery_name(side, tau=TAU_STRICT), mip_name(side)
                found = [row[f"{name}_mean"] for name in names]
                place = {"method": method, "protocol": row["protocol"], "what": side}
                rows.append({**place, "recovery": found[0], "mip": found[1]})
        levels = [
            baseline_name(CHANCE, name) for name in (recovery_name("decoder", tau=TAU_STRICT), mip_name("decoder"))
        ]
        chance = [first[f"{name}_mean"] for name in levels]
        rows.append({"method": method, "what": CHANCE, "recovery": chance[0], "mip": chance[1]})
    return pd.DataFrame(rows, columns=COLUMNS)


def figure_overview(rows: pd.DataFrame) -> Figure:
    """Draw recovery and MIP side by side, a line a method.

    Parameters
    ----------
    rows
        As `overview_rows` returns them.
    """
    methods = list(rows["method"].unique())
    protocols = list(rows["protocol"].dropna().unique())
    with style():
        figure = Figure(figsize=(9.0, 0.42 * len(methods) + 1.5), layout="constrained")
        panels: Any = figure.subplots(1, 2, sharey=True)
        labels = {
            "recovery": f"share of features recovered (cosine above {TAU_STRICT:g})",
            "mip": "mean best cosine (MIP)",
        }
        for axes, (quantity, label) in zip(panels, labels.items(), strict=True):
            for place, method in enumerate(methods):
                own = rows[rows["method"] == method]
                for what, marker, colour, size in ((CHANCE, "|", GREY, 11), (PAPER, "D", "black", 6)):
                    axes.plot(own.loc[own["what"] == what, quantity], [place], marker, color=colour, markersize=size)
                for side, colour in SIDES.items():
                    for fill, protocol, off in zip(FILLS, protocols, (-0.14, 0.14), strict=False):
                        chosen = own[(own["what"] == side) & (own["protocol"] == protocol)]
                        at = [place + off] * len(chosen)
                        axes.plot(chosen[quantity], at, "o", color=colour, fillstyle=fill, markersize=6, clip_on=False)
            axes.set_xlim(-0.02, 1.02)
            axes.set_xlabel(label, fontsize=8)
        panels[0].set_yticks(range(len(methods)), [label_method(method) for method in methods])
        panels[0].set_ylim(len(methods) - 0.5, -0.5)
        shown: list[tuple[str, dict[str, Any]]] = [(PAPER, {"marker": "D", "color": "black"})]
        for fill, protocol in zip(FILLS, protocols, strict=False):
            for side, colour in SIDES.items():
                shown.append((f"our {side}, {protocol}", {"marker": "o", "color": colour, "fillstyle": fill}))
        shown.append((CHANCE, {"marker": "|", "color": GREY, "markersize": 11}))
        handles = [panels[0].plot([], [], linestyle="none", label=text, **how)[0] for text, how in shown]
        figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), fontsize=8, handletextpad=0.2)
    return figure
