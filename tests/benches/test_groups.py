import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdlcore.benches.config import zipf_probabilities
from sdlcore.benches.lrb import Groups, coefficients
from sdlcore.random_streams import stream

N_SAMPLES, N = 40_000, 12


def active(seed=0, p=0.1, exponent=0.0, groups=None, hierarchy=None, n=N, n_samples=N_SAMPLES):
    streams = stream(seed), stream(seed, "groups")
    return (
        coefficients(n_samples, n, 1 - p, streams[0], 0.1, 1.0, hierarchy, exponent, groups, streams[1]).toarray() > 0
    )


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 100), p=st.floats(0.02, 0.4), correlation=st.floats(0, 1), size=st.integers(2, 7))
def test_groups_leave_each_feature_as_frequent_as_it_was(seed, p, correlation, size):
    rates = active(seed, p, groups=Groups(size, correlation), n_samples=10_000).mean(axis=0)
    assert np.abs(rates - p).max() < 6 * np.sqrt(p * (1 - p) / 10_000)


@pytest.mark.parametrize("correlation", [0.2, 0.7, 1.0])
def test_two_features_of_a_group_correlate_by_as_much_and_others_do_not(correlation):
    correlations = np.corrcoef(active(groups=Groups(5, correlation)).T)
    group = np.arange(N) // 5
    same = (group[:, None] == group) & ~np.eye(N, dtype=bool)
    assert correlations[same] == pytest.approx(correlation, abs=0.04)
    assert np.abs(correlations[group[:, None] != group]).max() < 5 / np.sqrt(N_SAMPLES)


def test_where_probabilities_differ_it_is_a_share_of_the_largest_that_they_allow():
    p, correlation = np.array(zipf_probabilities(N, 0.1, 1.0)), 0.6
    covariances = np.cov(active(exponent=1.0, groups=Groups(N, correlation)).T, bias=True)
    most = np.minimum.outer(p, p) - np.outer(p, p)
    np.fill_diagonal(most, p * (1 - p) / correlation)
    assert covariances == pytest.approx(correlation * most, abs=5e-3)


def test_magnitudes_stay_independent():
    streams = stream(3), stream(3, "groups")
    x = coefficients(N_SAMPLES, 2, 0.8, streams[0], 0.0, 1.0, groups=Groups(2, 1.0), groups_rng=streams[1]).toarray()
    assert ((x[:, 0] > 0) == (x[:, 1] > 0)).all()
    both = x[x[:, 0] > 0]
    assert abs(np.corrcoef(both.T)[0, 1]) < 5 / np.sqrt(len(both))


@settings(max_examples=25)
@given(n=st.integers(2, 400), p=st.floats(0.001, 0.2), exponent=st.floats(0, 2))
def test_probabilities_fall_as_a_power_of_the_place_and_keep_their_mean(n, p, exponent):
    weights = np.arange(1, n + 1) ** -exponent
    if p * n / weights.sum() > 1:
        with pytest.raises(ValueError, match="most frequent"):
            zipf_probabilities(n, p, exponent)
        return
    probabilities = np.array(zipf_probabilities(n, p, exponent))
    assert probabilities.mean() == pytest.approx(p)
    assert probabilities.max() <= 1
    slopes = np.diff(np.log(probabilities)) / np.diff(np.log(np.arange(1, n + 1)))
    assert slopes == pytest.approx(-exponent, abs=1e-6)
