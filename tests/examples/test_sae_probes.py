"""Probes by sae-probes: the page's numbers are those of the runs, and intervals draw sources and seeds."""

import numpy as np
import pandas as pd
import pytest

from examples.sae_probes import page
from sdlstudy.results.tables import read_csv
from tests.conftest import REPOSITORY

FOLDER = REPOSITORY / page.FOLDER


@pytest.fixture(scope="module")
def tables():
    names = ("runs", "sets", "predictions", "summary", "outcomes")
    runs, sets, *others = (read_csv(FOLDER / f"sae_probes_{name}.csv") for name in names)
    return runs, sets.set_index("set")["source"], *others


def test_every_kind_of_features_has_all_sets_and_seeds(tables):
    runs, source = tables[:2]
    assert len(source) >= 20
    sizes = runs.groupby(["features", "k"], sort=False).size()
    assert set(sizes) == {len(source) * runs["seed"].nunique()}


def test_means_and_outcomes_are_recomputed(tables):
    runs, source, predictions, summary, outcomes = tables
    means, judged = page.summary(runs, source), page.outcomes(runs, source, predictions)
    for name in ("auc", "low", "high"):
        np.testing.assert_allclose(means[name], summary[name], atol=1e-4)
    np.testing.assert_allclose(judged["mean"], outcomes["mean"], atol=1e-4)
    assert list(judged["outcome"]) == list(outcomes["outcome"])
    text = (FOLDER / "README.md").read_text()
    for line in page.lines(means, judged):
        assert line in text


def test_an_interval_draws_whole_sources_and_seeds():
    source = pd.Series({"a": "one", "b": "one", "c": "two"})
    values = pd.DataFrame({0: [0.2, 0.2, 0.8], 1: [0.2, 0.2, 0.8]}, index=["a", "b", "c"])
    assert page.interval(values, source) == pytest.approx((0.4, 0.2, 0.8))
