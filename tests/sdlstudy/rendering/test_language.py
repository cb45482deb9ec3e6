"""Intervals of the table of probes."""

import numpy as np
import pandas as pd
import pytest

from sdlstudy.rendering.language import probes_table


def table(auc):
    """Return the table of a dictionary beside raw activations, from an AUC for each features, seed and class."""
    rows = [
        ("s", seed, features, "1", str(label), auc[features][seed, label], 0.5)
        for features in auc
        for seed in range(auc[features].shape[0])
        for label in range(auc[features].shape[1])
    ]
    columns = ["source", "seed", "features", "k", "label", "auc", "balanced_accuracy"]
    return probes_table(pd.DataFrame(rows, columns=columns)).set_index("features")


def test_intervals_contain_the_variance_of_classes_and_of_seeds():
    """Independent effects of seeds and classes: the bootstrap's variance is the sum of both means' variances."""
    rng = np.random.default_rng(0)
    seeds, classes = 0.02 * rng.standard_normal(20), 0.05 * rng.standard_normal(30)
    values = 0.8 + seeds[:, None] + classes
    row = table({"raw": values}).loc["raw"]
    width = 2 * 1.96 * np.sqrt(seeds.var() / 20 + classes.var() / 30)
    # 4000 resamples: a quantile at 2.5 % has a relative error of 2 % or so, and sums of 20 are nearly normal
    assert row["auc_high"] - row["auc_low"] == pytest.approx(width, rel=0.1)
    assert row["auc"] == pytest.approx(values.mean())


def test_differences_are_paired():
    """What seeds and classes add to both is not in the interval of the difference."""
    raw = np.random.default_rng(0).uniform(0.6, 0.9, (3, 8))
    row = table({"raw": raw, "pca": raw - 0.1, "ours": raw + 0.05}).loc["ours"]
    assert row["baseline"] == "raw"
    assert row[["beyond", "beyond_low", "beyond_high"]].tolist() == pytest.approx([0.05] * 3)
    assert row["auc_high"] - row["auc_low"] > 0.05
