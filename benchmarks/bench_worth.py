"""Do methods rank on benches as they rank on a language model? Kendall's tau between rankings, with intervals.

    python -m benchmarks.bench_worth docs/results/methods/runs.csv --metrics recovery fvu \
        --csv docs/results/bench-worth/tau.csv --picture docs/results/bench-worth/tau.png

The table of runs has the columns method, ground and seed, and a column for each metric.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.stats
from matplotlib.figure import Figure

from sdlcore.pipeline import write_text
from sdlcore.study.rendering.figures import GREY, PALETTE, save_png, style

RESAMPLES = 1000
FEWEST = 4
"""Methods that two rankings must share: three can be ordered in six ways only."""
L0_OFF = 0.25
LOWER_IS_BETTER = ("fvu", "dead")
NULLS = ("random_directions", "random_samples")
LABELS = {
    "fvu": "FVU",
    "mip": "MIP",
    "f1": "F1",
    "kl_recovered": "KL recovered",
    "probe_1": "probe, k = 1",
    "probe_16": "probe, k = 16",
}
"""Metric -> its name in the picture, if it differs from the column's."""


class Ranking(NamedTuple):
    """The scores of methods by one metric on one ground. Larger is better."""

    ground: str
    metric: str
    scores: pd.DataFrame
    """A row for each method, a column for each seed."""

    @property
    def name(self) -> str:
        return f"{self.ground}: {self.metric}"


class Tau(NamedTuple):
    """Agreement of two rankings: 1 for the same order, -1 for the opposite order, about 0 for unrelated orders."""

    tau: float
    """Kendall's tau-b of the means over seeds."""
    low: float
    """The 2.5 % quantile over resamples of methods and seeds."""
    high: float
    """The 97.5 % quantile."""
    methods: int
    """Number of methods that both rankings contain."""


def kendall_tau(one: pd.DataFrame, other: pd.DataFrame, resamples: int = RESAMPLES, seed: int = 0) -> Tau:
    """Return Kendall's tau-b between two rankings of methods, with a 95 % interval.

    Parameters
    ----------
    one, other
        Scores with a row for each method and a column for each seed. Seeds may differ in number. Methods that one
        table lacks, or that have no score in it, are left out.
    resamples
        Resamples for the interval. Each draws methods with replacement, and seeds of either table with replacement.
        A method that is drawn twice ties with itself in both rankings, and tau-b leaves such pairs out.
    seed
        Of the resamples.

    Returns
    -------
    NaN if a table gives all methods the same score.

    Raises
    ------
    ValueError
        If the tables share fewer than four methods.
    """
    tables = [table.dropna(how="all") for table in (one, other)]
    shared = tables[0].index.intersection(tables[1].index)
    if len(shared) < FEWEST:
        raise ValueError(f"the rankings share {len(shared)} methods, expected at least {FEWEST}")
    a, b = (_filled(table.loc[shared]) for table in tables)
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(resamples):
        methods = rng.integers(len(shared), size=len(shared))
        seeds = (rng.integers(scores.shape[1], size=scores.shape[1]) for scores in (a, b))
        found.append(_tau(*(scores[methods][:, its].mean(1) for scores, its in zip((a, b), seeds, strict=True))))
    known = [tau for tau in found if not np.isnan(tau)]
    low, high = np.quantile(known, (0.025, 0.975)) if known else (np.nan, np.nan)
    return Tau(_tau(a.mean(1), b.mean(1)), float(low), float(high), len(shared))


def noise_ceiling(scores: pd.DataFrame) -> float:
    """Return the mean tau between rankings by single seeds: how well a ranking agrees with itself. NaN for one seed."""
    found = []
    for one, other in combinations(scores.columns, 2):
        both = scores[[one, other]].dropna()
        if len(both) >= FEWEST:
            found.append(_tau(both[one].to_numpy(float), both[other].to_numpy(float)))
    return float(np.mean(found)) if found else np.nan


def _filled(scores: pd.DataFrame) -> np.ndarray:
    """Return the scores with each missing seed replaced by the mean of the method's other seeds."""
    return scores.T.fillna(scores.mean(axis=1)).T.to_numpy(float)


def _tau(a: np.ndarray, b: np.ndarray) -> float:
    return float(scipy.stats.kendalltau(a, b).statistic)


def at_equal_l0(runs: pd.DataFrame, l0: Mapping[str, float], off: float = L0_OFF) -> pd.DataFrame:
    """Return the runs of methods whose mean L0 on each ground is near the ground's target.

    Parameters
    ----------
    runs
        Columns method, ground and l0.
    l0
        Ground -> target. Other grounds are not checked.
    off
        Largest difference, as a share of the target.
    """
    means = runs.groupby(["method", "ground"])["l0"].mean().reset_index()
    target = means["ground"].map(l0)
    return runs[~runs["method"].isin(means["method"][(means["l0"] - target).abs() > off * target])]


def rankings(runs: pd.DataFrame, metrics: Sequence[str]) -> Iterator[Ranking]:
    """Yield a ranking for each ground and metric, where the metric is known and differs between methods."""
    for ground, its in runs.groupby("ground", sort=False):
        for metric in metrics:
            scores = its.pivot_table(metric, "method", "seed") if its[metric].notna().any() else pd.DataFrame()
            if len(scores) >= FEWEST and scores.mean(axis=1).nunique() > 1:
                yield Ranking(str(ground), metric, -scores if metric in LOWER_IS_BETTER else scores)


def agreements(runs: pd.DataFrame, metrics: Sequence[str], real: str) -> pd.DataFrame:
    """Return tau between each ranking and each ranking on a real model.

    Parameters
    ----------
    runs
        Columns method, ground and seed, and the metrics.
    metrics
        Names of the metrics to rank by.
    real
        The ground of the real model.
    """
    found = list(rankings(runs, metrics))
    ceilings = {ranking.name: noise_ceiling(ranking.scores) for ranking in found}
    rows = []
    for judge in (ranking for ranking in found if ranking.ground == real):
        for ranking in found:
            if ranking.name == judge.name:
                continue
            row = {"real": judge.metric, "ground": ranking.ground, "metric": ranking.metric}
            row |= kendall_tau(ranking.scores, judge.scores)._asdict()
            rows.append(row | {"ceiling": ceilings[ranking.name], "real_ceiling": ceilings[judge.name]})
    return pd.DataFrame(rows)


def figure_tau(table: pd.DataFrame) -> Figure:
    """Draw tau and its interval: a panel for each metric of the real model, a line for each other ranking."""
    judges = list(dict.fromkeys(table["real"]))
    ranked = table["ground"] + ": " + table["metric"].map(lambda metric: LABELS.get(metric, metric))
    names = list(dict.fromkeys(ranked))
    grounds = list(dict.fromkeys(table["ground"]))
    with style():
        figure = Figure(figsize=(2.2 + 1.9 * len(judges), 1.2 + 0.2 * len(names)), layout="constrained")
        panels: Any = figure.subplots(1, len(judges), sharex=True, sharey=True, squeeze=False)[0]
        for axes, judge in zip(panels, judges, strict=True):
            axes.axvline(0, color=GREY, linewidth=0.8)
            for row in table.assign(name=ranked)[table["real"] == judge].itertuples():
                at, colour = names.index(row.name), PALETTE[grounds.index(row.ground) % 10]
                axes.plot([row.low, row.high], [at, at], color=colour, linewidth=1.4)
                axes.plot([row.tau], [at], "o", color=colour, markersize=4)
            axes.set_title(LABELS.get(judge, judge))
            axes.set_xlim(-1.05, 1.05)
        panels[0].set_yticks(range(len(names)), names, fontsize=7)
        panels[0].invert_yaxis()
        figure.supxlabel("Kendall's tau with the ranking on the language model", fontsize=9)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="tables of runs, joined by method, ground and seed")
    parser.add_argument("--real", default="smollm2_100k", help="ground of the real model")
    parser.add_argument("--metrics", nargs="+", required=True, help="columns to rank by")
    parser.add_argument("--l0", nargs="*", default=[], help="GROUND=L0: leave out methods more than a quarter from it")
    parser.add_argument("--nulls", action="store_true", help="rank untrained dictionaries, too")
    parser.add_argument("--csv", type=Path, required=True, help="table to write")
    parser.add_argument("--picture", type=Path, required=True, help="picture to write")
    asked = parser.parse_args()
    runs = pd.read_csv(asked.runs[0])
    for path in asked.runs[1:]:
        runs = runs.merge(pd.read_csv(path), "outer", on=["method", "ground", "seed"])
    if unknown := [name for name in (*asked.metrics, "l0") if name not in runs]:
        parser.error(f"{asked.runs[0]}: no column {', '.join(unknown)}, found {', '.join(map(str, runs))}")
    if not asked.nulls:
        runs = runs[~runs["method"].isin(NULLS)]
    runs = at_equal_l0(runs, {ground: float(l0) for ground, l0 in (each.rsplit("=", 1) for each in asked.l0)})
    table = agreements(runs, asked.metrics, asked.real)
    print(table.to_string(index=False, float_format="{:.2f}".format))
    write_text(asked.csv, table.to_csv(index=False, lineterminator="\n", float_format="%.4g"))
    save_png(figure_tau(table), asked.picture)


if __name__ == "__main__":
    main()
