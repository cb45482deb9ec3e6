"""Kendall's tau between rankings of methods."""

import itertools

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from studies.language.bench_worth import (
    Ranking,
    agreements,
    corrected,
    kendall_tau,
    noise_ceiling,
    taus,
)

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


def test_the_interval_grows_with_the_noise_of_seeds_and_covers_unrelated_rankings():
    order = np.arange(16)
    calm, noisy = (kendall_tau(table(order, spread), table(order, spread, seed=1), 60) for spread in (0.1, 8))
    assert calm.tau == pytest.approx(1)
    assert noisy.high - noisy.low > calm.high - calm.low
    unrelated = kendall_tau(table(order), table(np.random.default_rng(2).permutation(16)), 60)
    assert unrelated.low < 0 < unrelated.high
    assert noise_ceiling(table(order, 0.1)) == pytest.approx(1)
    assert noise_ceiling(table(order, 8)) < 0.9
    assert np.isnan(noise_ceiling(table(order, seeds=1)))


def test_tau_equals_scipys_with_ties_and_without_missing_scores():
    one, other = np.random.default_rng(0).integers(6, size=(2, 20, 9)).astype(float)
    one[:, 3] = np.nan
    expected = [scipy.stats.kendalltau(a, b, nan_policy="omit").statistic for a, b in zip(one, other, strict=True)]
    np.testing.assert_allclose(taus(one, other), expected, atol=1e-12)


def test_p_counts_permutations_and_is_corrected_for_the_number_of_pairs():
    judge, drawn = table(range(5)), 4000
    others = [table(range(5)), table([0, 2, 1, 4, 3])]
    rankings = [Ranking("bench", metric, other) for metric, other in zip(("fvu", "auc"), others, strict=True)]
    p_values = corrected([Ranking("real", "kl", judge)], rankings, drawn)
    orders = itertools.permutations(range(5))
    sizes = np.array([[abs(scipy.stats.kendalltau(order, other[0])[0]) for other in others] for order in orders])
    p = (sizes >= np.array([1, 0.6]) - 1e-9).mean(0)  # 2 of 10 pairs of the second disagree
    assert np.all(np.abs(p_values["p"] - p) < 4 * np.sqrt(p / drawn))  # standard errors
    assert p_values["p_corrected"].tolist() == pytest.approx([2 * p_values["p"][0], p_values["p"][1]])


def test_each_ranking_is_compared_with_the_real_models():
    rows = []
    for ground, sign in (("bench", 1), ("real", 1), ("other", -1)):
        for place, method in enumerate(METHODS[:6]):
            for seed in (0, 1):
                score = sign * (place + seed / 10)
                rows.append({"method": method, "ground": ground, "seed": seed, "fvu": -score, "auc": score})
    runs = pd.DataFrame(rows)
    runs.loc[runs["ground"] != "real", "auc"] = np.nan
    taus = agreements(runs, ["fvu", "auc"], "real").set_index(["real", "ground", "metric"])["tau"]
    # lower fvu is better, so both of the real model's rankings agree
    expected = {
        **{("fvu", "bench", "fvu"): 1, ("fvu", "real", "auc"): 1, ("fvu", "other", "fvu"): -1},
        **{("auc", "bench", "fvu"): 1, ("auc", "real", "fvu"): 1, ("auc", "other", "fvu"): -1},
    }
    assert taus.to_dict() == pytest.approx(expected)
    judged = agreements(runs, ["fvu", "auc"], "real", ["auc"])
    assert judged["real"].tolist() == ["auc"] * 3
    # 6 methods have 720 orders; tau is 1 in size with 2 of them
    assert judged["p"].tolist() == pytest.approx([2 / 720] * 3, abs=4 * (2 / 720 / 10_000) ** 0.5)
