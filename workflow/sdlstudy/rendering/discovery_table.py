"""Summarise runs with discovered anchors, with given anchors and without anchors."""

import numpy as np
import pandas as pd

from sdlcore import paired_interval
from sdlcore.data.recovery_rule import TAU
from sdlcore.evaluation.metric_names import mip_name, recovery_name
from sdlcore.evaluation.metrics import METRICS
from sdlstudy.rendering.labels import label_anchoring, label_method
from sdlstudy.rendering.markup import number
from sdlstudy.rendering.text_table import TextTable

GROUP = ["source", "method", "protocol", "anchoring"]
HEADS = {
    recovery_name("decoder"): "recovery: decoder",
    mip_name("decoder"): "MIP: decoder",
    recovery_name("encoder"): "recovery: encoder",
    mip_name("encoder"): "MIP: encoder",
    "fvu": METRICS["fvu"].symbol,
}
"""Metric -> head of its column."""
COUNTS = ("anchors", "near", "left")
RUN_COLUMNS = [*GROUP, "seed", *COUNTS, *HEADS, *(f"{name}_none" for name in HEADS), "l0", "dead_fraction"]
"""Columns of the table of runs. ``near``: number of features near an anchor; ``left``: number of features that the run
is judged on; ``*_none``: the value of the same run without anchors, on the same features."""


def discovery_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Summarise runs over seeds.

    Parameters
    ----------
    runs
        One row for each run, with the columns `RUN_COLUMNS`.

    Returns
    -------
    DataFrame
        One row for each source x method x protocol x anchoring: ``seeds``, means of `COUNTS` and `HEADS`, and for each
        metric the mean difference to the runs without anchors, paired by seed, with its 95 % t interval. Differences
        are NaN for runs without anchors. Recovery and MIP are NaN if the source has no reference directions, or if no
        feature is left to judge on.
    """
    rows = []
    for key, cell in runs.groupby(GROUP, sort=False):
        row: dict[str, str | float] = dict(zip(GROUP, map(str, key), strict=True)) | {"seeds": len(cell)}
        # the mean is NaN if one seed has no value
        row |= {name: float(np.mean(cell[name].to_numpy(float))) for name in (*COUNTS, *HEADS)}
        for name in HEADS:
            values = cell[name].to_numpy(float)
            plain = cell[f"{name}_none"].to_numpy(float) if row["anchoring"] != "none" else np.full(len(values), np.nan)
            parts = (f"{name}_difference", f"{name}_low", f"{name}_high")
            row |= dict(zip(parts, paired_interval(values - plain), strict=True))
        rows.append(row)
    return pd.DataFrame(rows)


def discovery_text(table: pd.DataFrame) -> TextTable:
    """Format the table of `discovery_table`; differences and their intervals are in brackets."""
    rows = []
    for _, row in table.iterrows():
        names = [row["source"], label_method(row["method"]), row["protocol"], label_anchoring(row["anchoring"])]
        counts = [number(row[name], 1) for name in COUNTS]
        rows.append([*names, str(row["seeds"]), *counts, *(_cell(row, name) for name in HEADS)])
    heads = [*GROUP, "seeds", *COUNTS, *HEADS.values()]
    frame = pd.DataFrame(rows, columns=heads)
    caption = (
        "Runs with anchors that a solver found in the training data, with given anchors and without anchors: means "
        "over seeds. Brackets contain the difference to the same runs without anchors, paired by seed, and its 95 % "
        f"interval. Recovery (cosine above {TAU:g}) and MIP are over the features that are *left*, i.e. whose cosine "
        f"with every anchor of the source is at most {TAU:g}. For an anchoring of all stable directions, its own "
        f"anchors remove further features. *Near* counts the features whose cosine with an anchor of the row exceeds "
        f"{TAU:g}. FVU is over all samples."
    )
    return TextTable(caption, frame, 4)


def _cell(row: pd.Series, name: str) -> str:
    # FVU gets one more decimal, because anchoring changes it only a little
    digits = METRICS[name].digits + (name == "fvu")
    value, difference = row[name], row[f"{name}_difference"]
    if np.isnan(value) or np.isnan(difference):
        return number(value, digits)
    low, high = (number(row[f"{name}_{end}"], digits) for end in ("low", "high"))
    return f"{number(value, digits)} ({number(difference, digits)}: {low} to {high})"
