"""Format what anchoring changes: a difference, its interval, and whether it is for the better."""

import math
from typing import NamedTuple

import pandas as pd

from sdlcore.evaluation.metrics import ALL, GIVEN, HIGHER, LOWER, METRICS, OTHERS, Metric
from sdlcore.study.rendering.markup import label_anchoring, label_method, label_value, number
from sdlcore.study.rendering.symbols import symbol
from sdlcore.study.results.tables import effect_metrics

FEATURES = {ALL: "all", GIVEN: "given", OTHERS: "not given"}
BETTER = {HIGHER: 1, LOWER: -1, None: 0}


class Effect(NamedTuple):
    """What anchoring changes of one metric."""

    mean: str
    interval: str
    """Empty where there are too few seeds for one."""
    sign: int
    """1 where the interval says that it is for the better, -1 for the worse, else 0."""


class EffectTable(NamedTuple):
    """What anchoring changes, one row a point x method x anchoring x protocol."""

    labels: list[str]
    groups: list[tuple[str, list[str]]]
    """Heads of neighbouring columns, and those below each."""
    starts: list[int]
    """The columns that groups begin with."""
    lower: str
    """The metrics of which less is better."""
    rows: list[tuple[list[str], list[Effect]]]
    seeds: int


def effect_table(effects: pd.DataFrame) -> EffectTable:
    """Return the table of the rows of `tables.anchoring_effect`, over sweeps or not."""
    bounds = ["difference_mean", "difference_low", "difference_high"]
    swept = effects["value"].notna().any()
    shown = [swept, True, effects["anchoring"].nunique() > 1, effects["protocol"].nunique() > 1]
    heads = [symbol(effects["parameter"].iloc[0]) if swept else "", "Method", "Anchoring", "Protocol"]
    labels = [name for name, several in zip(heads, shown, strict=True) if several]
    rows = []
    by = ["value", "method", "anchoring", "protocol"]
    for (_, method, anchoring, protocol), group in effects.groupby(by, sort=False, dropna=False):
        by_metric = group.set_index("metric")
        cells = []
        for name in effect_metrics():
            mean, low, high = (float(value) for value in by_metric[bounds].loc[name].to_numpy())
            interval = "" if math.isnan(low) else f"{_signed(low)} to {_signed(high)}"
            # an interval that excludes zero; which sign is good depends on the metric
            sign = 0 if math.isnan(low) or low <= 0 <= high else (1 if low > 0 else -1)
            cells.append(Effect(_signed(mean), interval, sign * BETTER[METRICS[name].better]))
        point = label_value(*by_metric[["value", "paper_value"]].iloc[0]) if swept else ""
        names = [point, label_method(str(method)), label_anchoring(str(anchoring)), str(protocol)]
        rows.append(([name for name, several in zip(names, shown, strict=True) if several], cells))
    metrics = [METRICS[name] for name in effect_metrics()]
    groups = _groups(metrics)
    return EffectTable(
        labels=labels,
        groups=groups,
        starts=[sum(len(below) for _, below in groups[:i]) for i in range(len(groups))],
        lower=" and ".join(metric.symbol for metric in metrics if metric.better == LOWER),
        rows=rows,
        seeds=int(effects["seeds"].iloc[0]),
    )


def _groups(metrics: list[Metric]) -> list[tuple[str, list[str]]]:
    """Return the heads of neighbouring columns, and those below each."""
    groups: dict[str, list[str]] = {}
    for metric in metrics:
        matched = metric.matched
        head = metric.symbol if matched is None else f"{metric.symbol}, {matched.side}"
        groups.setdefault(head, []).append("held-out" if matched is None else FEATURES[matched.features])
    return list(groups.items())


def _signed(value: float) -> str:
    text = number(value, 3).replace("-", "−")
    return f"+{text}" if value > 0 and float(text) != 0 else text
