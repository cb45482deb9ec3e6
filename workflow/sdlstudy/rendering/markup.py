"""Format the rows of Tables 1, 2 and 4 to 7 as readable cells, which the report shows, and as Markdown."""

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
from sdlstudy.rendering.labels import label_anchoring, label_method, label_value
from sdlstudy.rendering.symbols import symbol
from sdlstudy.rendering.text_table import TextTable
from sdlstudy.results.tables import PAPER_METHODS
from sdlstudy.results.verdicts import L0_NUMBER, MIP_NUMBER, RECOVERY_NUMBER, UNITS


class Column(NamedTuple):
    """One column of the readable table: its headings and the metric behind it, or ``part:number`` of a verdict."""

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


def plugin_columns(table: pd.DataFrame) -> list[Column]:
    """Return a column for each plugin's metric that the table contains."""
    metrics = [metric for metric in METRICS.values() if metric.of_plugin and has_values(table, f"{metric.name}_mean")]
    return [_ours("ours", metric.name) for metric in metrics]


class Cell(NamedTuple):
    """A number as text, and its spread as text, which may be empty."""

    value: str
    spread: str = ""


class Readable(NamedTuple):
    """The readable table: names of the label columns, then for each row its labels and one cell for each column.

    ``baselines`` are levels without training, such as chance: a name and one cell for each column.
    """

    labels: list[str]
    columns: list[Column]
    rows: list[tuple[list[str], list[Cell]]]
    baselines: list[tuple[str, list[Cell]]]


def number(value: float, digits: int) -> str:
    """Return a number with ``digits`` decimals, or an en dash for NaN; never a negative zero."""
    if math.isnan(value):
        return "–"
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def readable(table: pd.DataFrame, verdicts: pd.DataFrame | None = None) -> Readable:
    """Format the columns of a table that fit a page; protocols are named only if there are several.

    ``verdicts`` are the paper's numbers beside ours, as `sdlstudy.results.verdicts.judge` returns them; None for tables
    that are not in the paper.
    """
    labels = ["Method", "Anchoring"] + (["Protocol"] if table["protocol"].nunique() > 1 else [])
    swept = [symbol(table["parameter"].iloc[0])] if has_values(table, "value") else []
    # skip columns without numbers: tables lack the paper's L0 or all of its numbers, unlabelled sources lack recovery
    measured = {column.group for column in COLUMNS if has_values(table, f"{column.name}_mean")}
    judged = (
        {}
        if verdicts is None
        else {_place(row, row["value"], row["number"]): row for row in verdicts.to_dict("records")}
    )
    shown = measured | {f"{part}:{place[-1]}" for place in judged for part in ("paper", "ours", "inside")}
    columns = [column for column in COLUMNS if (column.name if ":" in column.name else column.group) in shown]
    columns += [column for column in CLASS_COLUMNS if has_values(table, f"{column.name}_mean")]
    columns += [*_at_tau(table), *plugin_columns(table)]
    rows = []
    for _, row in table.iterrows():
        names = [label_method(row["method"]), label_anchoring(row["anchoring"]), row["protocol"]][: len(labels)]
        values = [label_value(row["value"], row["paper_value"])] if swept else []
        rows.append((values + names, [_cell(row, column, judged) for column in columns]))
    baselines = (
        [("Chance", [_baseline(table, column, Baseline.CHANCE) for column in columns])]
        if MIP.symbol in measured
        else []
    )
    if has_values(table, f"{mip_name('decoder', baseline=Baseline.ANCHORS_ONLY)}_mean"):
        baselines.append(("Anchors only", [_baseline(table, column, Baseline.ANCHORS_ONLY) for column in columns]))
    if has_values(table, f"{baseline_name(Baseline.ORACLE, 'fvu')}_mean"):
        baselines.append(("Oracle", [_baseline(table, column, Baseline.ORACLE) for column in columns]))
    return Readable(swept + labels, columns, rows, baselines)


def _at_tau(table: pd.DataFrame) -> list[Column]:
    """Return the columns of recovery over all features at the threshold ``tau`` of a configuration."""
    names = [str(name).removesuffix("_mean") for name in table.columns if has_values(table, str(name))]
    metrics = [metric for name in names if name not in METRICS and (metric := declared(name)) is not None]
    return [
        Column(metric.symbol, f"{metric.matched.side}, cosine > {metric.matched.tau:g}", metric.name, metric.digits)
        for metric in metrics
        if metric.matched and metric.matched.measure == GT_RECOVERY and metric.matched.features == FeatureSet.ALL
    ]


def has_values(table: pd.DataFrame, name: str) -> bool:
    """Return whether a table contains a column, with at least one value."""
    return name in table and bool(table[name].notna().any())


def _place(row: Mapping[Any, Any], value: float | None, number: str) -> tuple[str, ...]:
    """Return the place of a number in the paper's tables, with our anchoring and protocol."""
    return row["method"], row["anchoring"], row["protocol"], "" if pd.isna(value) else f"{value:g}", number


def _cell(row: pd.Series, column: Column, judged: Mapping[tuple[str, ...], Mapping[Any, Any]]) -> Cell:
    part, _, paper_number = column.name.partition(":")
    if paper_number:
        # a null baseline may have the name of one of the paper's methods
        method = PAPER_METHODS.get(row["method"], "") if pd.notna(row["paper_mip"]) else ""
        place = _place({**row, "method": method}, row.get("paper_value"), paper_number)
        return Cell(_judged_text(judged[place], part, column.digits) if place in judged else "–")
    spread = row[f"{column.name}_std"]
    return Cell(
        number(row[f"{column.name}_mean"], column.digits),
        "" if math.isnan(spread) else number(spread, column.digits),
    )


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


def _baseline(table: pd.DataFrame, column: Column, kind: str) -> Cell:
    """Return a level as one number, or as a range if rows differ, for example in their number of dimensions."""
    name = f"{baseline_name(kind, column.name)}_mean"
    if not has_values(table, name):
        return Cell("–")
    levels = table[name]
    low, high = number(levels.min(), column.digits), number(levels.max(), column.digits)
    return Cell(low if low == high else f"{low} to {high}")


def text_table(table: pd.DataFrame, caption: str, verdicts: pd.DataFrame | None = None) -> TextTable:
    """Return the readable table as text, with the baselines at the bottom."""
    content = readable(table, verdicts)
    heads = content.labels + [f"{column.group}: {column.heading}" for column in content.columns]
    body = [names + [_plain(cell) for cell in cells] for names, cells in content.rows]
    for name, cells in content.baselines:
        body.append([name] + [""] * (len(content.labels) - 1) + [_plain(cell) for cell in cells])
    return TextTable(caption, pd.DataFrame(body, columns=heads), len(content.labels))


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


def _plain(cell: Cell) -> str:
    return f"{cell.value} ± {cell.spread}" if cell.spread else cell.value
