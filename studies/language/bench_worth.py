"""Do methods rank on benches as they rank on a language model? Kendall's tau between rankings, with intervals.

    python -m studies.language.bench_worth resources/kept/methods_runs.csv resources/kept/bench_worth_model.csv \
        --metrics mip_decoder fvu kl_recovered --judges kl_recovered \
        --csv resources/kept/bench_worth_tau.csv

The tables are joined by their columns method, ground (a source of samples) and seed, and have a column for each metric.
One of them has the column l0. ``--metrics`` names all columns that rank methods, and ``--judges`` those of them that
rankings on the language model's ground are compared with (all by default). Intervals are 95 %, from resampled methods
and seeds.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from sdlcore.storage.files import write_text

RESAMPLES = 1000
FEWEST = 4
"""Methods that two rankings must share: three can be ordered in six ways only."""
L0_OFF = 0.25
LOWER_IS_BETTER = ("fvu", "dead_fraction")
PERMUTATIONS = 10_000
NULLS = ("random_directions", "random_samples")


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
    methods = rng.integers(len(shared), size=(resamples, len(shared)))
    drawn = [_resampled(scores, methods, rng) for scores in (a, b)]
    found = taus(*drawn)
    known = found[~np.isnan(found)]
    low, high = np.quantile(known, (0.025, 0.975)) if len(known) else (np.nan, np.nan)
    return Tau(float(taus(a.mean(1), b.mean(1))), float(low), float(high), len(shared))


def taus(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return Kendall's tau-b between scores of methods (... x methods). NaN scores are left out."""
    a, b = (np.sign(scores[..., :, None] - scores[..., None, :]) for scores in (one, other))
    both = ~(np.isnan(a) | np.isnan(b))
    a, b = (np.where(both, signs, 0) for signs in (a, b))
    agree, differ_a, differ_b = ((x * y).sum((-1, -2)) for x, y in ((a, b), (a, a), (b, b)))
    with np.errstate(invalid="ignore"):  # NaN if all methods tie
        return np.asarray(agree / np.sqrt(differ_a * differ_b))


def _resampled(scores: np.ndarray, methods: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the mean scores (resamples x methods) of resampled methods, over seeds that are resampled each time."""
    seeds = rng.integers(scores.shape[1], size=(len(methods), scores.shape[1]))
    return np.asarray(scores[methods[:, :, None], seeds[:, None, :]].mean(2))


def noise_ceiling(scores: pd.DataFrame) -> float:
    """Return the mean tau between rankings by single seeds: how well a ranking agrees with itself. NaN for one seed."""
    found = []
    for one, other in combinations(scores.columns, 2):
        both = scores[[one, other]].dropna()
        if len(both) >= FEWEST:
            found.append(taus(both[one].to_numpy(float), both[other].to_numpy(float)))
    return float(np.mean(found)) if found else np.nan


def _filled(scores: pd.DataFrame) -> np.ndarray:
    """Return the scores with each missing seed replaced by the mean of the method's other seeds."""
    return scores.T.fillna(scores.mean(axis=1)).T.to_numpy(float)


def at_equal_l0(runs: pd.DataFrame, l0: Mapping[str, float], off: float = L0_OFF) -> pd.DataFrame:
    """Drop the runs of a method on a ground where its mean L0 over seeds misses the ground's target.

    Parameters
    ----------
    runs
        Columns method, ground (a source of samples) and l0.
    l0
        Ground -> target. Runs on other grounds stay.
    off
        Largest difference of the mean from the target that is accepted, as a share of the target.
    """
    means = runs.groupby(["method", "ground"])["l0"].transform("mean")
    target = runs["ground"].map(l0)
    return runs[~((means - target).abs() > off * target)]


def rankings(runs: pd.DataFrame, metrics: Sequence[str]) -> Iterator[Ranking]:
    """Yield a ranking for each ground and metric, where the metric is known and differs between methods."""
    for ground, its in runs.groupby("ground", sort=False):
        for metric in metrics:
            scores = its.pivot_table(metric, "method", "seed") if its[metric].notna().any() else pd.DataFrame()
            if len(scores) >= FEWEST and scores.mean(axis=1).nunique() > 1:
                yield Ranking(str(ground), metric, -scores if metric in LOWER_IS_BETTER else scores)


def agreements(runs: pd.DataFrame, metrics: Sequence[str], real: str, judges: Sequence[str] = ()) -> pd.DataFrame:
    """Return tau between each ranking and each ranking on a real model.

    Parameters
    ----------
    runs
        Columns method, ground and seed, and the metrics.
    metrics
        Names of the metrics to rank by.
    real
        The ground of the real model.
    judges
        Metrics of the real model to compare rankings with; all if left out.

    Returns
    -------
    A row for each pair, with the fields of `Tau`, ``ceiling`` and ``real_ceiling`` from `noise_ceiling`, and ``p`` and
    ``p_corrected`` from `corrected`.
    """
    found = list(rankings(runs, metrics))
    ceilings = {ranking.name: noise_ceiling(ranking.scores) for ranking in found}
    judging = [ranking for ranking in found if ranking.ground == real and (ranking.metric in judges or not judges)]
    rows = []
    for ranking in found:
        for judge in (judge for judge in judging if judge.name != ranking.name):
            row = {"real": judge.metric, "ground": ranking.ground, "metric": ranking.metric}
            row |= kendall_tau(ranking.scores, judge.scores)._asdict()
            rows.append(row | {"ceiling": ceilings[ranking.name], "real_ceiling": ceilings[judge.name]})
    return pd.DataFrame(rows).merge(corrected(judging, found), on=["real", "ground", "metric"])


def corrected(
    judges: Sequence[Ranking], others: Sequence[Ranking], permutations: int = PERMUTATIONS, seed: int = 0
) -> pd.DataFrame:
    """Test whether rankings are related, with a correction for the number of rankings that each judge is compared with.

    Each permutation gives the judge's scores to other methods. ``p`` is the share of permutations in which the pair's
    tau is at least as large, in size. ``p_corrected`` is p after Holm's correction over the pairs of the judge.

    Parameters
    ----------
    judges, others
        Rankings. Each judge is compared with each of the others, except itself.
    permutations
        Number of permutations.
    seed
        Of the permutations.

    Returns
    -------
    A row for each pair: real, ground, metric, p and p_corrected.
    """
    methods = sorted({method for ranking in judges for method in ranking.scores.index})
    rng = np.random.default_rng(seed)
    # the order that was found counts as one of the permutations
    orders = np.stack([np.arange(len(methods)), *(rng.permutation(len(methods)) for _ in range(permutations - 1))])

    def means(ranking: Ranking) -> np.ndarray:
        return np.asarray(pd.DataFrame(ranking.scores).mean(axis=1).reindex(methods), float)

    tables = []
    for judge in judges:
        rows = []
        for other in (other for other in others if other.name != judge.name):
            sizes = np.abs(taus(means(other), means(judge)[orders])).round(9)  # so that equal taus tie
            rows.append((judge.metric, other.ground, other.metric, (sizes >= sizes[0]).mean()))
        table = pd.DataFrame(rows, columns=["real", "ground", "metric", "p"])
        p = table["p"].sort_values()
        tables.append(table.assign(p_corrected=(p * np.arange(len(p), 0, -1)).cummax().clip(upper=1)))
    return pd.concat(tables, ignore_index=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="tables of runs, joined by method, ground and seed")
    parser.add_argument("--real", default="smollm2_100k", help="ground of the real model")
    parser.add_argument("--metrics", nargs="+", required=True, help="columns to rank by")
    parser.add_argument("--judges", nargs="*", default=[], help="metrics of the real model to compare with (all)")
    parser.add_argument("--l0", nargs="*", default=[], help="GROUND=L0: leave out methods more than a quarter from it")
    parser.add_argument("--nulls", action="store_true", help="rank untrained dictionaries, too")
    parser.add_argument("--csv", type=Path, required=True, help="table to write")
    asked = parser.parse_args()
    runs, *others = (pd.read_csv(path) for path in asked.runs)
    grounds = [*dict.fromkeys(runs["ground"]), asked.real]
    for table in others:
        runs = runs.merge(table, "outer", on=["method", "ground", "seed"])
    # merging sorts; the real model comes last
    places = {ground: place for place, ground in enumerate(grounds)}
    runs = runs.sort_values("ground", key=lambda its: its.map(places), kind="stable")
    if unknown := [name for name in (*asked.metrics, "l0") if name not in runs]:
        parser.error(f"{asked.runs[0]}: no column {', '.join(unknown)}, found {', '.join(map(str, runs))}")
    if not asked.nulls:
        runs = runs[~runs["method"].isin(NULLS)]
    runs = at_equal_l0(runs, {ground: float(l0) for ground, l0 in (each.rsplit("=", 1) for each in asked.l0)})
    table = agreements(runs, asked.metrics, asked.real, asked.judges)
    print(table.to_string(index=False, float_format="{:.2f}".format))
    write_text(asked.csv, table.to_csv(index=False, lineterminator="\n", float_format="%.4g"))


if __name__ == "__main__":
    main()
