"""The comparison of methods at equal L0: a table and a picture of all grounds."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from annotated_types import MinLen
from matplotlib.figure import Figure

from sdlcore import paired_interval
from sdlcore.evaluation.metrics import METRICS
from sdlcore.settings import Positive
from sdlstudy.products.bench_table import BenchTable, OnSource
from sdlstudy.rendering.figures import GREY, PALETTE
from sdlstudy.rendering.labels import label_method
from sdlstudy.rendering.text_table import TextTable
from sdlstudy.results.runs import costs
from sdlstudy.settings.cells import Cell
from sdlstudy.settings.fields import Identifier, Unique
from sdlstudy.settings.files import Files
from sdlstudy.settings.study import Study

MISSED = 0.25
"""A method is not compared with the others if its mean L0 differs from the target by more than this share, or its
number of latents from the median over runs."""


class Ground(OnSource):
    """A source of samples with an L0 that all methods should have there. Several grounds may share a source, each with
    its own L0, which their protocols set."""

    l0: Positive | None = None
    """The L0 that methods should have on this ground. A method that misses it by more than a quarter gets no rank. Null
    ranks all methods."""
    score: Literal["gt_recovery_decoder", "mip_decoder", "detection_f1", "mcc", "fvu", "dead_fraction"] | None = None
    """The metric that ranks methods on this ground (docs/metrics.md). Null for the decoder's MIP on benches, and for
    FVU on other sources."""


class Comparison(BenchTable):
    """Which methods `snakemake comparison` compares at equal L0, and on which grounds (docs/training.md); null for
    none."""

    keys = ("comparison",)
    title = "Methods at equal L0"
    parts = ("", "runs")
    columns = {
        "gt_recovery_decoder": "recovery: decoder",
        "mip_decoder": "MIP: decoder",
        "detection_f1": "F1",
        "mcc": "MCC",
        **{name: METRICS[name].symbol for name in ("detection_precision", "detection_recall", "uniqueness")},
        "fvu": METRICS["fvu"].symbol,
        "l0": METRICS["l0"].symbol,
        "dead_fraction": METRICS["dead_fraction"].symbol,
        **{name: name for name in ("latents", "samples", "seconds")},
    }
    digits = {"latents": 0, "samples": 0, "seconds": 1}
    caption = (
        "Methods at about equal L0: means over seeds ± half the width of their 95 % t intervals. Ranks are by MIP on "
        "benches and by FVU on activations, unless the ground names another score. A range contains the ranks that the "
        "95 % t intervals of paired differences over seeds leave possible. A dash: not compared, as the method is a "
        "null baseline, or its L0 or its number of latents is off by more than a quarter. Recovery, MIP, F1 and MCC "
        "need known features. F1, precision and recall are means over latents as detectors of the feature nearest to "
        "their decoder column, MCC the mean |cosine| of the best one-to-one assignment of latents to features. Seconds "
        "are wall-clock times on one machine, where other jobs may have run at the same time."
    )

    runs: Annotated[Mapping[Identifier, Ground | None], MinLen(1)]
    """Ground -> the methods that are compared on it; null leaves a ground of another configuration file out. A ground
    is a source, or a source at one of several L0s."""
    nulls: Annotated[list[Identifier], Unique] = []
    """Methods that are null baselines. They get no rank, and the picture shows them below the others."""

    def accepted_sources(self, study: Study) -> tuple[list[str], str]:
        return list(study.all_sources()), "a source"

    def unsound(self, path: str, study: Study) -> Iterator[str]:
        for ground, entry in self.entries().items():
            source = study.source(entry.source or ground)
            # class means are references of recovery and MIP, but no features to detect
            labelled = source.is_labelled and entry.score in ("gt_recovery_decoder", "mip_decoder")
            if entry.score not in (None, "fvu", "dead_fraction") and source.n_features is None and not labelled:
                yield f"{path}.runs.{ground}.score: {entry.score} needs known features; choose fvu for this source"

    def inputs(self, files: Files) -> list[str]:
        return [file for cell in self.cells(files.study) for file in files.measured(cell)]

    def read(self, cells: Sequence[Cell], files: Files) -> pd.DataFrame:
        return super().read(cells, files).assign(**costs(files.run(cell) for cell in cells))

    def frames(self, files: Files) -> dict[str, pd.DataFrame]:
        entries, runs = self.entries(), self.rows(files).rename(columns={"source": "ground"})
        numbers = {
            ground: files.study.source(entry.source or ground).n_features is not None
            for ground, entry in entries.items()
        }
        usual = {True: "mip_decoder", False: "fvu"}
        scores = {ground: entry.score or usual[numbers[ground]] for ground, entry in entries.items()}
        return {"": ranking(runs, scores, self.nulls, {g: entry.l0 for g, entry in entries.items()}), "runs": runs}

    def text(self, frames: Mapping[str, pd.DataFrame], study: Study) -> TextTable:
        runs = frames["runs"].rename(columns={"ground": "source"})
        table, ranks = super().text({"": runs}, study), frames[""].set_index(["ground", "method"])
        places = runs[["source", "method"]].drop_duplicates().itertuples(index=False)
        table.frame.insert(2, "rank", [_rank(ranks.loc[ground, method]) for ground, method in places])
        return table

    def draw(self, rows: pd.DataFrame, files: Files) -> Figure:
        """Draw the scores of `ranking`: a panel for each ground, a line for each method. Methods without a rank are
        last."""
        import seaborn

        ranked = rows.sort_values("rank", key=pd.isna, kind="stable")["method"].unique().tolist()
        places = rows["method"].map(ranked.index)
        tidy = rows.assign(place=places)
        height = 1.2 + 0.2 * len(ranked)
        grid = seaborn.FacetGrid(tidy, col="ground", sharex=False, height=height, aspect=2.2 / height)
        grid.map_dataframe(_draw_intervals).set_titles("{col_name}")
        grid.set(yticks=range(len(ranked)), yticklabels=list(map(label_method, ranked)))
        grid.axes[0, 0].invert_yaxis()
        for axes, score in zip(grid.axes.flat, rows.groupby("ground", sort=False)["score"].first(), strict=True):
            axes.set_xlabel(f"{METRICS[score].symbol}\n({METRICS[score].better} is better)")
        figure: Figure = grid.figure
        return figure


def ranking(
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
        errors = errors[cells["method"]] * (1 if METRICS[scores[str(ground)]].better == "lower" else -1)
        table.loc[cells.index, "rank"] = errors.mean().rank(method="min").to_numpy()
        beats = _beats(errors.to_numpy())
        table.loc[cells.index, "best_rank"] = 1 + beats.sum(0)
        table.loc[cells.index, "worst_rank"] = len(cells) - beats.sum(1)
    return table.drop(columns="fits")


def _beats(errors: np.ndarray) -> np.ndarray:
    """Return which methods are shown to have smaller errors than which others (M x M, for seeds x M)."""
    n = errors.shape[1]
    return np.array([[paired_interval(errors[:, j] - errors[:, i])[1] > 0 for j in range(n)] for i in range(n)])


def _rank(cell: pd.Series) -> str:
    best, worst = cell["best_rank"], cell["worst_rank"]
    return "–" if pd.isna(best) else f"{best:.0f}" if best == worst else f"{best:.0f} to {worst:.0f}"


def _draw_intervals(data: pd.DataFrame, **look: object) -> None:
    """Draw the means of one ground with their intervals: vermilion if no method is shown to be better."""
    from matplotlib import pyplot

    best, ranked = data["best_rank"].eq(1), data["rank"].notna()
    for those, colour in ((best, PALETTE[3]), (ranked & ~best, PALETTE[0]), (~ranked, GREY)):
        part = data[those]
        reach = part[["mean", "high"]].diff(axis=1)["high"].fillna(0)
        pyplot.errorbar(part["mean"], part["place"], xerr=reach, fmt="o", color=colour, markersize=3.5)
    # a baseline far from all methods would squeeze the others together
    means = data.loc[ranked, "mean"] if ranked.any() else data["mean"]
    margin = 0.25 * float(np.ptp(means)) or 0.1
    pyplot.xlim(means.min() - margin, means.max() + margin)
