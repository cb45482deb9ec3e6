"""The three sentences at the top of a report: Table 1, the strongest null baseline, and what anchoring changes."""

from collections.abc import Sequence

import pandas as pd

from sdlcore.data.recovery_rule import TAU
from sdlcore.evaluation.metric_names import Baseline, FeatureSet, baseline_name, recovery_name
from sdlstudy.products.overview import strongest_null
from sdlstudy.rendering.labels import label_method
from sdlstudy.rendering.run_text import has_values
from sdlstudy.results.verdicts import RECOVERY_NUMBER

PROTOCOL = "paper"
"""The protocol that follows the paper's text."""
DECODER = f"{recovery_name('decoder')}_mean"


def table1_sentence(verdicts: pd.DataFrame, where: str) -> str:
    """Say whether the paper's Table 1 is reproduced; empty if no run is at the paper's scale.

    Parameters
    ----------
    verdicts
        Table 1's numbers beside ours, as `sdlstudy.results.verdicts.judge` returns them.
    where
        The runs, such as "stored runs at the paper's scale".
    """
    judged = verdicts[verdicts["protocol"].eq(PROTOCOL) & verdicts["inside"].notna()]
    recovery = judged[judged["number"].eq(RECOVERY_NUMBER) & judged["anchoring"].eq("none")]
    if recovery.empty:
        return ""
    inside = judged["inside"].astype(bool)
    answer = "is reproduced" if inside.all() else "is reproduced in part" if inside.any() else "is not reproduced"
    paper, encoder, decoder = (_span(recovery[name] / 100) for name in ("paper", "ours", "decoder"))
    return (
        f"Table 1 of the paper {answer} by {where}: by the paper's rule, encoder rows recover {encoder} of the "
        f"features (the paper: {paper}), and decoder columns recover {decoder} by cosines above {TAU:g}."
    )


def null_sentence(table: pd.DataFrame, nulls: Sequence[str]) -> str:
    """Compare the strongest null baseline with trained decoders; without nulls, compare chance.

    Parameters
    ----------
    table
        The main table, as `sdlstudy.rendering.sweeps.table_over` returns it.
    nulls
        Names of the null baselines.
    """
    trained = table[table["anchoring"].eq("none") & ~table["method"].isin(list(nulls))]
    if not has_values(trained, DECODER):
        return f"Reconstructions leave {_span(table['fvu_mean'])} of the held-out variance unexplained."
    null = strongest_null(table, nulls)
    if null is None:
        level = _span(trained[f"{baseline_name(Baseline.CHANCE, recovery_name('decoder'))}_mean"])
        return f"Random directions recover {level}, and decoders of trained methods {_span(trained[DECODER])}."
    name, recovered = label_method(null[0]), percent(null[1])
    return (
        f"Without any training of its own, the strongest null baseline ({name}) recovers {recovered} of the features; "
        f"decoders of trained methods recover {_span(trained[DECODER])}."
    )


def anchoring_sentence(effects: pd.DataFrame | None) -> str:
    """Say how anchoring changes the decoder's recovery of features without an anchor; empty without such runs.

    ``effects`` are as `sdlstudy.rendering.sweeps.effects_over` returns them.
    """
    if effects is None:
        return ""
    metric = recovery_name("decoder", features=FeatureSet.UNANCHORED)
    rows = effects[effects["metric"] == metric].dropna(subset=["difference_mean"])
    if rows.empty:
        return ""
    low, high = (_points(float(value)) for value in (rows["difference_mean"].min(), rows["difference_mean"].max()))
    seeds = int(rows["seeds"].iloc[0])
    excluding = int(((rows["difference_low"] > 0) | (rows["difference_high"] < 0)).sum())
    shown = (
        "too few seeds for an interval"
        if rows["difference_low"].isna().all()
        else f"{excluding} of {len(rows)} 95 % intervals exclude zero, not corrected for their number"
    )
    return (
        f"Anchoring changes the decoder's recovery of features without an anchor by {low} to {high} points "
        f"({seeds} seed{'s' * (seeds > 1)}; {shown})."
    )


def _points(difference: float) -> str:
    """Return a difference of shares in points, with its sign and a decimal; 0 without a sign."""
    text = f"{100 * difference:+.1f}".removesuffix(".0")
    return "0" if float(text) == 0 else text


def percent(share: float) -> str:
    """Return a share in per cent with at most one decimal. Only exact shares are written as 0 % and 100 %."""
    if 0 < share < 0.0005:
        return "under 0.1 %"
    if 0.9995 <= share < 1:
        return "over 99.9 %"
    return f"{100 * share:.1f}".removesuffix(".0") + " %"


def _span(shares: pd.Series) -> str:
    """Return the smallest and the largest share, or one number if they are equal."""
    low, high = percent(float(shares.min())), percent(float(shares.max()))
    return low if low == high else f"{low.removesuffix(' %')} to {high}"
