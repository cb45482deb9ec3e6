"""Summarise the probes by sae-probes: means with intervals, and outcomes of the predictions.

python -m examples.sae_probes.page
"""

from pathlib import Path

import numpy as np
import pandas as pd

FOLDER = Path("docs/results/judged")
SETS, RUNS, PREDICTIONS, SUMMARY, OUTCOMES = (
    FOLDER / f"sae_probes_{name}.csv" for name in ("sets", "runs", "predictions", "summary", "outcomes")
)
FULL = "raw, all coordinates"
DRAWS = 4000


def table(runs: pd.DataFrame, features: str, k: str) -> pd.DataFrame:
    """Return AUC, sets x seeds. The probes of all coordinates count for every k."""
    found = runs[(runs["features"] == features) & (runs["k"].astype(str) == ("all" if features == FULL else k))]
    return found.pivot(index="set", columns="seed", values="test_auc")


def interval(values: pd.DataFrame, source: pd.Series) -> tuple[float, float, float]:
    """Return a mean over sets and seeds, and its 95 % interval over sources and seeds, drawn with replacement."""
    groups = [values[source.loc[values.index] == one].to_numpy() for one in source.unique()]
    rng, seeds = np.random.default_rng(0), values.shape[1]
    means = []
    for _ in range(DRAWS):
        drawn = rng.integers(seeds, size=seeds)
        chosen = [groups[at] for at in rng.integers(len(groups), size=len(groups))]
        means.append(np.concatenate(chosen)[:, drawn].mean())
    return float(values.to_numpy().mean()), *map(float, np.quantile(means, [0.025, 0.975]))


def summary(runs: pd.DataFrame, source: pd.Series) -> pd.DataFrame:
    """Return the mean AUC of each kind of features and k, with its interval and the mean L0."""
    rows = []
    for (features, k), its in runs.astype({"k": str}).groupby(["features", "k"], sort=False):
        mean, low, high = interval(table(runs, features, k), source)
        rows.append({"features": features, "k": k, "l0": its["l0"].mean(), "auc": mean, "low": low, "high": high})
    return pd.DataFrame(rows)


def outcomes(runs: pd.DataFrame, source: pd.Series, predictions: pd.DataFrame) -> pd.DataFrame:
    """Return the predictions with the mean differences, their intervals, and right or wrong."""
    rows = []
    for one in predictions.to_dict("records"):
        features, minus = (table(runs, one[name], str(one["k"])) for name in ("features", "minus"))
        mean, low, high = interval(features - minus, source)
        outcome = "right" if one["low"] <= mean <= one["high"] else "wrong"
        rows.append(one | {"mean": mean, "mean_low": low, "mean_high": high, "outcome": outcome})
    return pd.DataFrame(rows)


def short(number: float) -> str:
    return f"{number:.3f}".replace("0.", ".")


def lines(means: pd.DataFrame, judged: pd.DataFrame) -> list[str]:
    """Return the rows of the page's two tables."""
    rows = []
    for features, its in means.groupby("features", sort=False):
        if features == FULL:
            continue
        by_k = its.set_index("k")
        cells = [f"{short(by_k.auc[k])} ({short(by_k.low[k])} to {short(by_k.high[k])})" for k in ("1", "16")]
        rows.append(f"| {features} | {by_k.l0.iloc[0]:.0f} | {' | '.join(cells)} |")
    for one in judged.itertuples():
        found = f"{one.mean:+.3f} ({one.mean_low:+.3f} to {one.mean_high:+.3f})".replace("0.", ".")
        predicted = f"{one.low:+.2f} to {one.high:+.2f}".replace("0.", ".")
        rows.append(f"| {one.features} - {one.minus} | {one.k} | {predicted} | {found} | {one.outcome} |")
    return rows


def main() -> None:
    runs, source = pd.read_csv(RUNS), pd.read_csv(SETS).set_index("set")["source"]
    means, judged = summary(runs, source), outcomes(runs, source, pd.read_csv(PREDICTIONS))
    means.to_csv(SUMMARY, index=False, float_format="%.4f")
    judged.to_csv(OUTCOMES, index=False, float_format="%.4f")
    print("\n".join(lines(means, judged)))


if __name__ == "__main__":
    main()
