"""Kendall's tau between rankings of methods."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from studies.language.bench_worth import kendall_tau, taus

METHODS = [f"m{number}" for number in range(16)]


def table(means, spread=0.0, seeds=3, seed=0):
    noise = np.random.default_rng(seed).normal(0, spread, (len(means), seeds))
    return pd.DataFrame(np.asarray(means, float)[:, None] + noise, index=METHODS[: len(means)])


def test_planted_rankings_have_their_tau():
    order = np.arange(16)
    same, opposite = (kendall_tau(table(order), table(other), 40) for other in (order**3, -order))
    assert same == pytest.approx((1, 1, 1, 16))
    assert opposite == pytest.approx((-1, -1, -1, 16))
    swapped = order.copy()
    swapped[[0, 1]] = swapped[[1, 0]]  # one of 120 pairs disagrees
    agreement = kendall_tau(table(order), table(swapped), 40)
    assert agreement.tau == pytest.approx(1 - 2 / 120)
    assert agreement.low < agreement.tau <= agreement.high <= 1 + 1e-9  # rounding


def test_tau_equals_scipys_with_ties_and_without_missing_scores():
    one, other = np.random.default_rng(0).integers(6, size=(2, 20, 9)).astype(float)
    one[:, 3] = np.nan
    expected = [scipy.stats.kendalltau(a, b, nan_policy="omit").statistic for a, b in zip(one, other, strict=True)]
    np.testing.assert_allclose(taus(one, other), expected, atol=1e-12)
