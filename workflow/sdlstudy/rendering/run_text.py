"""Format the rows of Tables 1, 2 and 4 to 7 as text: our means, the paper's numbers beside ours, and baselines."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from sdlcore.evaluation.metric_names import (
    GT_RECOVERY,
    MIP,
    Baseline,
    FeatureSet,
    baseline_name,
    mip_name,
    part_name,
    recovery_name,
)
from sdlcore.evaluation.metrics import METRICS, declared
from sdlstudy.rendering.labels import label_anchoring, label_method, label_value, symbol
from sdlstudy.rendering.text_table import TextTable, number
from sdlstudy.results.tables import PAPER_METHODS
from sdlstudy.results.verdicts import L0_NUMBER, MIP_NUMBER, RECOVERY_NUMBER, UNITS


class Column(NamedTuple):
    """One column of the readable table: its heading and the metric behind it, or ``part:number`` of a verdict."""

    group: str
    heading: str
    name: str
    digits: int


def _ours(heading: str, name: str) -> Column:
    """Return the column of a metric."""
    return Column(METRICS[name].symbol, heading, name, METRICS[name].digits)


def _judged(number: str, beside: str) -> list[Column]:
    """Return the columns that compare a number of the paper with ours, formatted like our metric ``beside``."""
    headings = {"paper": "paper", "ours": "ours (interval)", "inside": "inside"}
    symbol_, digits = METRICS[beside].symbol, METRICS[beside].digits
    return [Column(symbol_, heading, f"{part}:{number}", digits) for part, heading in headings.items()]


COLUMNS = [
    *_judged(RECOVERY_NUMBER, recovery_name("encoder")),
    _ours("encoder", recovery_name("encoder")),
    _ours("encoder, not given", recovery_name("encoder", features=FeatureSet.UNANCHORED)),
    _ours("decoder", recovery_name("decoder")),
    _ours("decoder, not given", recovery_name("decoder", features=FeatureSet.UNANCHORED)),
    *_judged(MIP_NUMBER, mip_name("encoder")),
    _ours("encoder", mip_name("encoder")),
    _ours("decoder", mip_name("decoder")),
    *_judged(L0_NUMBER, "l0"),
    _ours("ours", "l0"),
    _ours("ours", "fvu"),
    _ours("ours", "dead_fraction"),
]
# columns for samples with classes
CLASS_COLUMNS = [
    _ours("all latents", "top_classes"),
    _ours("not given", part_name("top_classes", FeatureSet.UNANCHORED)),
]
LEVELS = {
    Baseline.CHANCE: ("Chance", mip_name("decoder")),
    Baseline.ANCHORS_ONLY: ("Anchors only", mip_name("decoder")),
    Baseline.ORACLE: ("Oracle", "fvu"),
}
"""Level without training -> its name, and a metric that a table with this level has."""
Judged = Mapping[tuple[str, ...], Mapping[Any, Any]]
"""Place of a number in the paper's tables -> its verdict."""


def text_table(table: pd.DataFrame, caption: str, verdicts: pd.DataFrame | None = None) -> TextTable:
    """Format the columns of a table that have numbers, with levels without training at the bottom.

    Protocols are named only if there are several. ``verdicts`` are the paper's numbers beside ours, as
    `sdlstudy.results.verdicts.judge` returns them; None for tables that are not in the paper.
    """
    judged: Judged = {}
    if verdicts is not None:
        judged = {_place(row, row["value"], row["number"]): row for row in verdicts.to_dict("records")}
    columns, rows = _columns(table, judged), []
    for _, row in table.iterrows():
        names = {"Method": label_method(row["method"]), "Anchoring": label_anchoring(row["anchoring"])}
        if has_values(table, "value"):
            names = {symbol(row["parameter"]): label_value(row["value"], row["paper_value"]), **names}
        if table["protocol"].nunique() > 1:
            names["Protocol"] = row["protocol"]
        rows.append([*names.values(), *(_cell(row, column, judged) for column in columns)])
    for level, (name, metric) in LEVELS.items():
        if has_values(table, f"{baseline_name(level, metric)}_mean"):
            rows.append([name, *[""] * (len(names) - 1), *(_level(table, column, level) for column in columns)])
    heads = [*names, *(f"{column.group}: {column.heading}" for column in columns)]
    return TextTable(caption, pd.DataFrame(rows, columns=heads), len(names))


def _columns(table: pd.DataFrame, judged: Judged) -> list[Column]:
    """Return the columns with numbers. Tables may lack the paper's L0 or all of its numbers; unlabelled sources lack
    recovery; plugins and a configuration's ``tau`` add metrics."""
    measured = {column.group for column in COLUMNS if has_values(table, f"{column.name}_mean")}
    shown = measured | {f"{part}:{place[-1]}" for place in judged for part in ("paper", "ours", "inside")}
    columns = [column for column in COLUMNS if (column.name if ":" in column.name else column.group) in shown]
    columns += [column for column in CLASS_COLUMNS if has_values(table, f"{column.name}_mean")]
    names = [str(name).removesuffix("_mean") for name in table.columns if has_values(table, str(name))]
    for metric in filter(None, map(declared, (name for name in names if name not in METRICS))):
        if metric.matched and metric.matched.measure == GT_RECOVERY and metric.matched.features == FeatureSet.ALL:
            heading = f"{metric.matched.side}, cosine > {metric.matched.tau:g}"
            columns.append(Column(metric.symbol, heading, metric.name, metric.digits))
    return columns + [
        _ours("ours", metric.name) for metric in METRICS.values() if metric.of_plugin and metric.name in names
    ]


def has_values(table: pd.DataFrame, name: str) -> bool:
    """Return whether a table contains a column, with at least one value."""
    return name in table and bool(table[name].notna().any())


def _place(row: Mapping[Any, Any], value: float | None, number: str) -> tuple[str, ...]:
    """Return the place of a number in the paper's tables, with our anchoring and protocol."""
    return row["method"], row["anchoring"], row["protocol"], "" if pd.isna(value) else f"{value:g}", number


def _cell(row: pd.Series, column: Column, judged: Judged) -> str:
    part, _, paper_number = column.name.partition(":")
    if paper_number:
        # a null baseline may have the name of one of the paper's methods
        method = PAPER_METHODS.get(row["method"], "") if pd.notna(row["paper_mip"]) else ""
        place = _place({**row, "method": method}, row["paper_value"], paper_number)
        return _judged_text(judged[place], part, column.digits) if place in judged else "–"
    mean, spread = (row[f"{column.name}_{statistic}"] for statistic in ("mean", "std"))
    return number(mean, column.digits) + ("" if math.isnan(spread) else f" ± {number(spread, column.digits)}")


def _judged_text(verdict: Mapping[Any, Any], part: str, digits: int) -> str:
    """Return the paper's number, our mean with its interval, whether that contains the number, or our decoder's."""
    if part == "inside":
        return "–" if pd.isna(verdict["inside"]) else "yes" if verdict["inside"] else "no"
    unit = UNITS[verdict["number"]]
    texts = {name: number(float(verdict[name]) / unit, digits) for name in ("paper", "ours", "low", "high", "decoder")}
    mean, low, high = texts["ours"], texts["low"], texts["high"]
    if part != "ours":
        return texts[part]
    return mean if mean == "–" else f"{mean} ({low} to {high})"


def _level(table: pd.DataFrame, column: Column, kind: str) -> str:
    """Return a level as one number, or as a range if rows differ, for example in their number of dimensions."""
    name = f"{baseline_name(kind, column.name)}_mean"
    if not has_values(table, name):
        return "–"
    low, high = number(table[name].min(), column.digits), number(table[name].max(), column.digits)
    return low if low == high else f"{low} to {high}"


def verdict_table(verdicts: pd.DataFrame) -> pd.DataFrame:
    """Return the paper's numbers beside ours as text, a row for each method, anchoring and protocol.

    ``verdicts`` are as `sdlstudy.results.verdicts.judge` returns them, for a table that varies nothing.
    """
    parts = {"paper": "paper", "ours": "ours (interval)", "inside": "inside", "decoder": "decoder"}
    symbols = {RECOVERY_NUMBER: GT_RECOVERY.symbol, MIP_NUMBER: MIP.symbol, L0_NUMBER: METRICS["l0"].symbol}
    rows: dict[tuple[str, ...], dict[str, str]] = {}
    for verdict in verdicts.to_dict("records"):
        names = {"Method": verdict["method"], "Anchoring": label_anchoring(verdict["anchoring"])}
        row = rows.setdefault(_place(verdict, None, "")[:3], {**names, "Protocol": verdict["protocol"]})
        of_l0 = verdict["number"] == L0_NUMBER
        for part, heading in parts.items():
            if not (of_l0 and part == "decoder"):
                row[f"{symbols[verdict['number']]}: {heading}"] = _judged_text(verdict, part, 1 if of_l0 else 3)
    return pd.DataFrame(rows.values())
