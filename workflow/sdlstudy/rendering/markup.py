"""Format the rows of Tables 1, 2 and 4 to 7 as readable cells, which the report shows, and as Markdown."""

import math
from dataclasses import replace
from typing import NamedTuple

import pandas as pd

from sdlcore.data.recovery_rule import TAU_STRICT
from sdlcore.evaluation.metric_names import (
    GT_RECOVERY,
    MIP,
    Baseline,
    FeatureSet,
    Matched,
    Similarity,
    baseline_name,
    mip_name,
    part_name,
    recovery_name,
)
from sdlcore.evaluation.metrics import METRICS, declared
from sdlstudy.rendering.labels import label_anchoring, label_method, label_value
from sdlstudy.rendering.symbols import symbol
from sdlstudy.rendering.text_table import TextTable


class Column(NamedTuple):
    """One column of the readable table: its headings and the metric or ``paper_*`` column behind it."""

    group: str
    heading: str
    name: str
    digits: int


def _ours(heading: str, name: str) -> Column:
    """Return the column of a metric."""
    return Column(METRICS[name].symbol, heading, name, METRICS[name].digits)


def _papers(column: str, beside: str) -> Column:
    """Return a column of the paper's numbers, formatted like our metric ``beside``."""
    return Column(METRICS[beside].symbol, "paper", column, METRICS[beside].digits)


# recovery by the paper's formula and the threshold of its later revision, as in verdicts
_STATED = Matched("encoder", Similarity.INNER, tau=TAU_STRICT)
COLUMNS = [
    _papers("paper_gt_recovery", recovery_name("encoder")),
    _ours("encoder", recovery_name("encoder")),
    _ours("encoder, not given", recovery_name("encoder", features=FeatureSet.UNANCHORED)),
    _ours("encoder, inner products > .95", _STATED.name),
    _ours("the same, not given", replace(_STATED, features=FeatureSet.UNANCHORED).name),
    _ours("decoder", recovery_name("decoder")),
    _ours("decoder, not given", recovery_name("decoder", features=FeatureSet.UNANCHORED)),
    _papers("paper_mip", mip_name("encoder")),
    _ours("encoder", mip_name("encoder")),
    _ours("encoder, inner products", mip_name("encoder", Similarity.INNER)),
    _ours("decoder", mip_name("decoder")),
    _papers("paper_l0", "l0"),
    _ours("ours", "l0"),
    _ours("ours", "fvu"),
    _ours("ours", "dead_fraction"),
]
# columns for samples with classes
CLASS_COLUMNS = [
    _ours("all latents", "top_classes"),
    _ours("not given", part_name("top_classes", FeatureSet.UNANCHORED)),
]


SHORT = (recovery_name("encoder"), recovery_name("decoder"), "l0", "fvu", "dead_fraction")
"""Metrics of the short table, which also shows the metrics of plugins."""


def plugin_columns(table: pd.DataFrame) -> list[Column]:
    """Return a column for each plugin's metric that the table contains."""
    metrics = [metric for metric in METRICS.values() if metric.of_plugin and has_values(table, f"{metric.name}_mean")]
    return [_ours("ours", metric.name) for metric in metrics]


def _of_inner_products(column: Column) -> bool:
    """Return whether a column uses inner products, as the paper does. It is shown only beside the paper's numbers."""
    matched = METRICS[column.name].matched if column.name in METRICS else None
    return matched is not None and matched.similarity == Similarity.INNER


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


def readable(table: pd.DataFrame, short: bool = False) -> Readable:
    """Format the columns of a table that fit a page; protocols are named only if there are several.

    With ``short``, only the columns of `SHORT` and of plugins are left, in runs without anchors.
    """
    table = table[table["anchoring"] == "none"] if short else table
    labels = ["Method", "Anchoring"] + (["Protocol"] if table["protocol"].nunique() > 1 else [])
    swept = [symbol(table["parameter"].iloc[0])] if has_values(table, "value") else []
    # skip columns without numbers: tables lack the paper's L0 or all of its numbers, unlabelled sources lack recovery
    measured = {column.group for column in COLUMNS if has_values(table, f"{column.name}_mean")}
    papers = {column.name for column in COLUMNS if column.name.startswith("paper_") and has_values(table, column.name)}
    columns = [
        column
        for column in COLUMNS
        if (column.name in papers if column.name.startswith("paper_") else column.group in measured)
        and (papers or not _of_inner_products(column))
    ]
    columns += [column for column in CLASS_COLUMNS if has_values(table, f"{column.name}_mean")]
    columns = [column for column in columns if not short or column.name in SHORT]
    columns += [*_at_tau(table), *plugin_columns(table)]
    rows = []
    for _, row in table.iterrows():
        names = [label_method(row["method"]), label_anchoring(row["anchoring"]), row["protocol"]][: len(labels)]
        values = [label_value(row["value"], row["paper_value"])] if swept else []
        rows.append((values + names, [_cell(row, column) for column in columns]))
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


def _cell(row: pd.Series, column: Column) -> Cell:
    if column.name.startswith("paper_"):
        return Cell(number(row[column.name], column.digits))
    spread = row[f"{column.name}_std"]
    return Cell(
        number(row[f"{column.name}_mean"], column.digits),
        "" if math.isnan(spread) else number(spread, column.digits),
    )


def _baseline(table: pd.DataFrame, column: Column, kind: str) -> Cell:
    """Return a level as one number, or as a range if rows differ, for example in their number of dimensions."""
    name = f"{baseline_name(kind, column.name)}_mean"
    if not has_values(table, name):
        return Cell("–")
    levels = table[name]
    low, high = number(levels.min(), column.digits), number(levels.max(), column.digits)
    return Cell(low if low == high else f"{low} to {high}")


def markdown(table: pd.DataFrame, caption: str) -> str:
    """Return the readable table as GitHub-flavoured Markdown: caption above, baselines at the bottom."""
    content = readable(table)
    heads = content.labels + [f"{column.group}: {column.heading}" for column in content.columns]
    body = [names + [_plain(cell) for cell in cells] for names, cells in content.rows]
    for name, cells in content.baselines:
        body.append([name] + [""] * (len(content.labels) - 1) + [_plain(cell) for cell in cells])
    frame = pd.DataFrame(body, columns=heads)
    return TextTable(caption, frame, len(content.labels)).markdown()


def _plain(cell: Cell) -> str:
    return f"{cell.value} ± {cell.spread}" if cell.spread else cell.value
