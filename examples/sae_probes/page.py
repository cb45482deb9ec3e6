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
    for (features, k), its in runs.groupby(["features", "k"], sort=False):
        mean, low, high = interval(table(runs, features, str(k)), source)
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


def main() -> None:
    runs, source = pd.read_csv(RUNS), pd.read_csv(SETS).set_index("set")["source"]
    summary(runs, source).to_csv(SUMMARY, index=False, float_format="%.4f")
    outcomes(runs, source, pd.read_csv(PREDICTIONS)).to_csv(OUTCOMES, index=False, float_format="%.4f")


if __name__ == "__main__":
    main()
