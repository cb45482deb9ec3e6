"""Probes by sae-probes: means follow from the kept runs, and intervals draw sources and seeds."""

import numpy as np
import pandas as pd
import pytest

from sdlstudy.results.tables import read_csv
from studies import KEPT
from studies.language import sae_probes


@pytest.fixture(scope="module")
def tables():
    runs, sets, summary = (read_csv(KEPT / f"judged_sae_probes_{name}.csv") for name in ("runs", "sets", "summary"))
    return runs, sets.set_index("set")["source"], summary


def test_means_are_recomputed(tables):
    runs, source, summary = tables
    means = sae_probes.summary(runs, source)
    for name in ("auc", "low", "high"):
        np.testing.assert_allclose(means[name], summary[name], atol=1e-4)


def test_an_interval_draws_whole_sources_and_seeds():
    source = pd.Series({"a": "one", "b": "one", "c": "two"})
    values = pd.DataFrame({0: [0.2, 0.2, 0.8], 1: [0.2, 0.2, 0.8]}, index=["a", "b", "c"])
    assert sae_probes.interval(values, source) == pytest.approx((0.4, 0.2, 0.8))
