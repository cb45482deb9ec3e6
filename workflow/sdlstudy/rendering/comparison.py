"""Rank methods on several grounds, and draw their scores, a panel for each ground."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sdlcore import paired_interval
from sdlcore.evaluation.metrics import METRICS, Better
from sdlstudy.rendering.figures import GREY, PALETTE, style
from sdlstudy.rendering.labels import label_method, label_source
from sdlstudy.rendering.markup import number
from sdlstudy.rendering.text_table import TextTable

MISSED = 0.25
"""A method is not compared with the others if its mean L0 differs from the target by more than this share, or its
number of latents from the median over runs."""
CAPTION = (
    "Methods at about equal L0: the score on each ground, as mean over seeds ± half the width of its 95 % t interval. "
    "A star marks methods that no other is shown to beat: the 95 % t interval of each paired difference over seeds "
    "contains zero or is in the method's favour. In brackets: not compared, as the method is a null baseline, or its "
    "L0 or its number of latents is off by more than a quarter."
)


def comparison_table(
    runs: pd.DataFrame, scores: Mapping[str, str], nulls: Sequence[str], l0: Mapping[str, float | None]
) -> pd.DataFrame:
    """Return the score of each method on each ground, and its rank there.

    Parameters
    ----------
    runs
        One row for each run: ground (a source of samples with an L0), method, seed, latents (their number) and
        metrics.
    scores
        Ground -> the metric that ranks methods there.
    nulls
        Methods that are null baselines, which get no rank.
    l0
        Ground -> the L0 that methods should have there. Methods that miss it, or the median number of latents, by
        more than `MISSED` get no rank.

    Returns
    -------
    DataFrame
        One row for each method and ground, in the order of ``runs``: method, ground, score (the metric's name),
        seeds, mean, low and high (the 95 % t interval, NaN below 3 seeds), rank of the mean (1 is
        best), best_rank and worst_rank. These two bound the rank: 1 plus the number of methods that are shown to be
        better, and the number of methods that are not shown to be worse. Shown means that the 95 % t interval of paired
        differences over seeds excludes zero, without a correction for the number of pairs.
    """
    rows, widths = [], runs.groupby("ground")["latents"].median()
    for (ground, method), group in runs.groupby(["ground", "method"], sort=False):
        score = scores[str(ground)]
        mean, low, high = paired_interval(group[score].to_numpy(float))
        target, mean_l0 = l0[str(ground)], float(group["l0"].mean())
        off = [group["latents"].mean() / widths[str(ground)] - 1, 0.0 if target is None else mean_l0 / target - 1]
        fits = method not in nulls and max(map(abs, off)) <= MISSED
        rows.append((method, ground, score, len(group), mean, low, high, fits))
    table = pd.DataFrame(rows, columns=["method", "ground", "score", "seeds", "mean", "low", "high", "fits"])
    table[["rank", "best_rank", "worst_rank"]] = np.nan
    for ground, cells in table[table["fits"]].groupby("ground"):
        errors = runs[runs["ground"] == ground].pivot_table(index="seed", columns="method", values=scores[str(ground)])
        errors = errors[cells["method"]] * (1 if METRICS[scores[str(ground)]].better == Better.LOWER else -1)
        table.loc[cells.index, "rank"] = errors.mean().rank(method="min").to_numpy()
        beats = _beats(errors.to_numpy())
        table.loc[cells.index, "best_rank"] = 1 + beats.sum(0)
        table.loc[cells.index, "worst_rank"] = len(cells) - beats.sum(1)
    grounds = {ground: place for place, ground in enumerate(scores)}
    methods = {method: place for place, method in enumerate(runs["method"].unique())}
    keys = table.assign(place=table["ground"].map(grounds), order=table["method"].map(methods))
    return table.loc[keys.sort_values(["place", "order"]).index].drop(columns="fits").reset_index(drop=True)


def _beats(errors: np.ndarray) -> np.ndarray:
    """Return which methods are shown to have smaller errors than which others (M x M, for seeds x M)."""
    n = errors.shape[1]
    return np.array([[paired_interval(errors[:, j] - errors[:, i])[1] > 0 for j in range(n)] for i in range(n)])


def _methods(table: pd.DataFrame) -> list[str]:
    """Return the methods; methods without any rank come last."""
    ranked = table[table["rank"].notna()]
    return list(dict.fromkeys([*ranked["method"], *table["method"]]))


def comparison_text(table: pd.DataFrame) -> TextTable:
    """Return the printed table of the scores that rank methods: a row for each method, a column for each ground."""
    scores = table.drop_duplicates("ground").set_index("ground")["score"].to_dict()
    rows = []
    for method in _methods(table):
        cells = table[table["method"] == method].set_index("ground").reindex(list(scores))
        digits = [METRICS[score].digits for score in scores.values()]
        score_texts = [
            _score(cell, score_digits) for (_, cell), score_digits in zip(cells.iterrows(), digits, strict=True)
        ]
        rows.append([label_method(method), *score_texts])
    heads = [f"{label_source(str(ground))}: {METRICS[score].symbol}" for ground, score in scores.items()]
    return TextTable(CAPTION, pd.DataFrame(rows, columns=["method", *heads]), 1)


def _score(cell: pd.Series, digits: int) -> str:
    spread = "" if pd.isna(cell["high"]) else f" ± {number(cell['high'] - cell['mean'], digits)}"
    text = number(cell["mean"], digits) + spread
    if pd.isna(cell["rank"]) and not pd.isna(cell["mean"]):
        return f"({text})"
    return f"{text} *" if cell["best_rank"] == 1 else text


def figure_comparison(table: pd.DataFrame) -> Figure:
    """Draw the scores of `comparison_table`: a panel for each ground, a line for each method."""
    methods, grounds = _methods(table), table["ground"].unique().tolist()
    with style():
        figure = Figure(figsize=(1.9 + 1.75 * len(grounds), 0.9 + 0.2 * len(methods)), layout="constrained")
        panels = figure.subplots(1, len(grounds), sharey=True, squeeze=False)[0]
        for panel, ground in zip(panels, grounds, strict=True):
            _draw(panel, table[table["ground"] == ground], methods)
        panels[0].set_yticks(range(len(methods)), [label_method(method) for method in methods], fontsize=8)
        panels[0].set_ylim(len(methods) - 0.5, -0.5)
    return figure


def _draw(axes: Axes, cells: pd.DataFrame, methods: list[str]) -> None:
    metric = METRICS[cells["score"].iloc[0]]
    for _, cell in cells.iterrows():
        best_rank, mean, low, high = (float(cell[name]) for name in ("best_rank", "mean", "low", "high"))
        ranked = not math.isnan(best_rank)
        y = methods.index(str(cell["method"]))
        colour = GREY if not ranked else PALETTE[0] if best_rank > 1 else PALETTE[3]
        if not math.isnan(low):
            axes.plot([low, high], [y, y], color=colour, linewidth=1.2)
        axes.plot(mean, y, color=colour, linestyle="none", marker="o" if ranked else "D", markersize=3.5)
    # a baseline far from all methods would squeeze the others together
    means = cells["mean"][cells["rank"].notna()].to_numpy(float)
    means = means if len(means) else cells["mean"].to_numpy(float)
    margin = 0.25 * float(np.ptp(means)) or 0.1
    axes.set_xlim(means.min() - margin, means.max() + margin)
    axes.set_title(label_source(cells["ground"].iloc[0]), fontsize=9)
    axes.set_xlabel(f"{metric.symbol}\n({metric.better} is better)", fontsize=8)
    axes.tick_params(axis="x", labelsize=7)
