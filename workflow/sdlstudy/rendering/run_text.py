"""Format the rows of Tables 1, 2 and 4 to 7 as text: our means, the paper's numbers beside ours, and baselines."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from sdlcore.evaluation.metrics import METRICS
from sdlstudy.rendering.labels import label_anchoring, label_method, label_value, symbol
from sdlstudy.rendering.text_table import TextTable, number
from sdlstudy.results.tables import PAPER_METHODS
from sdlstudy.results.verdicts import L0_NUMBER, MIP_NUMBER, RECOVERY_NUMBER, UNITS


class Column(NamedTuple):
    """One column of the readable table: its heading, and the metric or the paper's number that it shows."""

    heading: str
    name: str
    digits: int


def _ours(heading: str, name: str) -> Column:
    """Return the column of a metric."""
    return Column(f"{METRICS[name].symbol}{heading and ': '}{heading}", name, METRICS[name].digits)


COLUMNS = [
    Column("GT recovery: ours (paper)", RECOVERY_NUMBER, 3),
    _ours("encoder", "gt_recovery_encoder"),
    _ours("encoder, not given", "gt_recovery_encoder_unanchored"),
    _ours("decoder", "gt_recovery_decoder"),
    _ours("decoder, not given", "gt_recovery_decoder_unanchored"),
    Column("MIP: ours (paper)", MIP_NUMBER, 3),
    _ours("encoder", "mip_encoder"),
    _ours("decoder", "mip_decoder"),
    _ours("", "l0"),
    _ours("", "fvu"),
    _ours("", "dead_fraction"),
    # for samples with classes
    _ours("all latents", "top_classes"),
    _ours("not given", "top_classes_unanchored"),
]
LEVELS = {
    "chance": ("Chance", "mip_decoder"),
    "anchors_only": ("Anchors only", "mip_decoder"),
    "oracle": ("Oracle", "fvu"),
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
    columns, rows = _columns(table, {place[-1] for place in judged}), []
    for _, row in table.iterrows():
        names = {"Method": label_method(row["method"]), "Anchoring": label_anchoring(row["anchoring"])}
        if has_values(table, "value"):
            names = {symbol(row["parameter"]): label_value(row["value"], row["paper_value"]), **names}
        if table["protocol"].nunique() > 1:
            names["Protocol"] = row["protocol"]
        rows.append([*names.values(), *(_cell(row, column, judged) for column in columns)])
    for level, (name, metric) in LEVELS.items():
        if has_values(table, f"{level}_{metric}_mean"):
            rows.append([name, *[""] * (len(names) - 1), *(_level(table, column, level) for column in columns)])
    return TextTable(caption, pd.DataFrame(rows, columns=[*names, *(column.heading for column in columns)]), len(names))


def _columns(table: pd.DataFrame, numbers: set[str]) -> list[Column]:
    """Return the columns with numbers; plugins add metrics."""
    names = [str(name).removesuffix("_mean") for name in table.columns if has_values(table, str(name))]
    columns = [column for column in COLUMNS if column.name in {*numbers, *names}]
    if L0_NUMBER in numbers:
        columns = [c._replace(heading=f"{c.heading} (paper)") if c.name == L0_NUMBER else c for c in columns]
    return columns + [
        _ours("", metric.name) for metric in METRICS.values() if metric.of_plugin and metric.name in names
    ]


def has_values(table: pd.DataFrame, name: str) -> bool:
    """Return whether a table contains a column, with at least one value."""
    return name in table and bool(table[name].notna().any())


def _place(row: Mapping[Any, Any], value: float | None, number: str) -> tuple[str, ...]:
    """Return the place of a number in the paper's tables, with our anchoring and protocol."""
    return row["method"], row["anchoring"], row["protocol"], "" if pd.isna(value) else f"{value:g}", number


def _cell(row: pd.Series, column: Column, judged: Judged) -> str:
    # a null baseline may have the name of one of the paper's methods
    method = PAPER_METHODS.get(row["method"], "") if pd.notna(row["paper_mip"]) else ""
    verdict = judged.get(_place({**row, "method": method}, row["paper_value"], column.name))
    if column.name in (RECOVERY_NUMBER, MIP_NUMBER):
        if verdict is None:
            return "–"
        ours = number(float(verdict["ours"]) / UNITS[column.name], column.digits)
        return f"{ours} {_paper_text(verdict, column.digits)}"
    mean, spread = (row[f"{column.name}_{statistic}"] for statistic in ("mean", "std"))
    text = number(mean, column.digits) + ("" if math.isnan(spread) else f" ± {number(spread, column.digits)}")
    return text if verdict is None else f"{text} {_paper_text(verdict, column.digits)}"


def _paper_text(verdict: Mapping[Any, Any], digits: int) -> str:
    """Return the paper's number in brackets: ✓ if our interval contains it, ✗ if not, no mark at another scale."""
    mark = "" if pd.isna(verdict["inside"]) else " ✓" if verdict["inside"] else " ✗"
    return f"({number(float(verdict['paper']) / UNITS[verdict['number']], digits)}){mark}"


def _level(table: pd.DataFrame, column: Column, kind: str) -> str:
    """Return a level as one number, or as a range if rows differ, for example in their number of dimensions."""
    name = f"{kind}_{column.name}_mean"
    if not has_values(table, name):
        return "–"
    low, high = number(table[name].min(), column.digits), number(table[name].max(), column.digits)
    return low if low == high else f"{low} to {high}"
