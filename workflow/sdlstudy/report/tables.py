"""Tables of the report: cells with a spread, an interval or a shade, under grouped headings."""

import math
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

import pandas as pd

from sdlcore.data.recovery_rule import TAU
from sdlcore.evaluation.metric_names import FeatureSet, recovery_name
from sdlcore.evaluation.metrics import METRICS, Better
from sdlstudy.rendering.labels import label_anchoring, label_method, label_value
from sdlstudy.rendering.markup import has_values, number, readable
from sdlstudy.rendering.settings_table import setting_text
from sdlstudy.rendering.symbols import symbol
from sdlstudy.rendering.text_table import TextTable
from sdlstudy.results.tables import effect_metrics

FEATURES: dict[str, str] = {FeatureSet.ALL: "all", FeatureSet.ANCHORED: "given", FeatureSet.UNANCHORED: "not given"}
BETTER: dict[str | None, int] = {Better.HIGHER: 1, Better.LOWER: -1, None: 0}
SHADES = {1: "up", -1: "down", 0: ""}


class Cell(NamedTuple):
    """A cell: its text, a smaller text below, and the CSS class of its shade."""

    text: str
    small: str = ""
    shade: str = ""


class Grid(NamedTuple):
    """A table of the page, which is folded under its title."""

    title: str
    heads: Sequence[str]
    """Headings of the columns."""
    names: int
    """Number of columns at the left with names; the others contain numbers."""
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    before: str = ""
    """A text above the table."""
    groups: Sequence[tuple[str, int]] = ()
    """Headings above groups of number columns, each with its number of columns."""
    baselines: Sequence[Sequence[Cell]] = ()
    """Rows below the others, such as chance."""

    def css(self, column: int, shade: str = "") -> str | None:
        """Return the CSS classes of a cell, or None."""
        starts = [self.names + sum(width for _, width in self.groups[:i]) for i in range(len(self.groups))]
        classes = {"text": column < self.names, "start": column in starts, "paper": self.heads[column] == "paper"}
        return " ".join([name for name, has in {**classes, shade: bool(shade)}.items() if has]) or None


def short_grid(table: pd.DataFrame) -> Grid:
    """Return the few columns that compare methods, and the metrics of plugins, of runs without anchors."""
    seeds = int(table["seeds"].max())
    spread = f"Means ± standard deviation over {seeds} seeds" if seeds > 1 else "One seed"
    has_recovery = has_values(table, f"{recovery_name('decoder')}_mean")
    recovery = f". Recovery counts cosines above {TAU:g}" if has_recovery else ""
    caption = f"{spread}, without anchors{recovery}. Compare methods of about equal L0."
    return run_grid("Methods side by side", table, caption, short=True)


def run_grid(title: str, table: pd.DataFrame, caption: str, short: bool = False) -> Grid:
    """Return a table of runs beside the paper's numbers, with baselines below; ``short`` as in `readable`."""
    content = readable(table, short)

    def line(names: Sequence[str], cells: Sequence[tuple[str, str]]) -> list[Cell]:
        return [*map(Cell, names), *(Cell(value, spread and f"± {spread}") for value, spread in cells)]

    blank = [""] * (len(content.labels) - 1)
    return Grid(
        title=title,
        heads=[*content.labels, *(column.heading for column in content.columns)],
        names=len(content.labels),
        rows=[line(names, cells) for names, cells in content.rows],
        caption=caption,
        groups=[(group, len(list(columns))) for group, columns in groupby(content.columns, key=lambda c: c.group)],
        baselines=[line([name, *blank], cells) for name, cells in content.baselines],
    )


def effect_grid(title: str, effects: pd.DataFrame) -> Grid:
    """Return a table of the effect of anchoring, with a row for each point, method, anchoring and protocol.

    Parameters
    ----------
    title
        Title of the table.
    effects
        As `sdlstudy.results.tables.anchoring_effect` returns them, over sweeps or not.
    """
    bounds = ["difference_mean", "difference_low", "difference_high"]
    swept = effects["value"].notna().any()
    visible = [swept, True, effects["anchoring"].nunique() > 1, effects["protocol"].nunique() > 1]
    heads = [symbol(effects["parameter"].iloc[0]) if swept else "", "Method", "Anchoring", "Protocol"]
    metrics = [METRICS[name] for name in effect_metrics()]
    rows = []
    keys = ["value", "method", "anchoring", "protocol"]
    for (_, method, anchoring, protocol), group in effects.groupby(keys, sort=False, dropna=False):
        by_metric = group.set_index("metric")
        point = label_value(*by_metric[["value", "paper_value"]].iloc[0]) if swept else ""
        names = [point, label_method(str(method)), label_anchoring(str(anchoring)), str(protocol)]
        cells = [Cell(name) for name, several in zip(names, visible, strict=True) if several]
        for metric, name in zip(metrics, effect_metrics(), strict=True):
            mean, low, high = (float(value) for value in by_metric[bounds].loc[name].to_numpy())
            # 1 or -1 if the interval excludes zero; whether a positive difference is good depends on the metric
            sign = 0 if math.isnan(low) or low <= 0 <= high else (1 if low > 0 else -1)
            interval = "" if math.isnan(low) else f"{_signed(low)} to {_signed(high)}"
            cells.append(Cell(_signed(mean), interval, SHADES[sign * BETTER[metric.better]]))
        rows.append(cells)
    columns = [
        (metric.symbol, "held-out")
        if metric.matched is None
        else (f"{metric.symbol}, {metric.matched.side}", FEATURES[metric.matched.features])
        for metric in metrics
    ]
    labels = [name for name, several in zip(heads, visible, strict=True) if several]
    seeds, lower = int(effects["seeds"].iloc[0]), [metric.symbol for metric in metrics if metric.better == Better.LOWER]
    enough = (
        " and its 95 % t interval. Shaded where the interval excludes zero: green for better, red for worse (for "
        f"{' and '.join(lower)}, lower is better). These are many intervals at once: some exclude zero by accident."
    )
    return Grid(
        title=title,
        heads=[*labels, *(below for _, below in columns)],
        names=len(labels),
        rows=rows,
        caption=f"Mean difference over {seeds} paired seed{'s' * (seeds > 1)}"
        + (enough if seeds > 2 else "; too few for an interval."),
        before="Anchored minus not anchored, paired by seed: both runs of a seed share features, samples, "
        "initialisation and order. “All” counts the features that anchoring gives away. “Not given” leaves them out, "
        "with and without anchoring, and so shows what anchoring does for the others.",
        groups=[(head, len(list(same))) for head, same in groupby(columns, key=lambda column: column[0])],
    )


def settings_grid(rows: pd.DataFrame, caption: str) -> Grid:
    """Return Table 3, the settings of a bench, as a table of the page."""
    heads = ["Parameter", "Symbol", "Paper", "Ours"]
    texts = [(name, sign, setting_text(paper), setting_text(ours)) for name, sign, paper, ours in rows.to_numpy()]
    return Grid("All settings", heads, 2, [[*map(Cell, row)] for row in texts], caption)


def summary_grid(summary: pd.DataFrame) -> Grid:
    """Return a table of the runs of Figure 6."""
    heads = ["Resampling", "Seed", "Final training loss", "Held-out FVU", "Held-out dead fraction"]
    rows = []
    for _, row in summary.iterrows():
        digits = {"final_loss": 2, "fvu": 4, "dead_fraction": 4}
        numbers = [number(row[name], places) for name, places in digits.items()]
        note = "" if pd.isna(row["note"]) else row["note"]
        texts = [row["variant"], f"{row['seed']}", *numbers, f"{row['resampled']}", f"{row['events']}", note]
        rows.append([*map(Cell, texts)])
    return Grid("All numbers", [*heads, "Latents resampled", "Events", "Note"], 1, rows)


def text_grid(title: str, table: TextTable) -> Grid:
    """Convert a table of text to a table of the page."""
    rows = [[Cell(str(text)) for text in row] for row in table.frame.to_numpy().tolist()]
    return Grid(title, list(table.frame.columns), table.names, rows, table.caption)


def _signed(value: float) -> str:
    text = number(value, 3).replace("-", "−")
    return f"+{text}" if value > 0 and float(text) != 0 else text
