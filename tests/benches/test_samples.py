import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from sdlcore.benches.lrb import coefficients, noise_deviation, noisy, synthesise
from sdlcore.random_streams import stream


@settings(max_examples=30)
@given(seed=st.integers(0, 1000), sparsity=st.floats(0, 0.99), c_min=st.floats(0, 2), beta=st.floats(0.1, 3))
def test_coefficients_are_non_negative_and_active_ones_reach_c_min(seed, sparsity, c_min, beta):
    x = coefficients(50, 20, sparsity, stream(seed), c_min, beta)
    assert x.shape == (50, 20)
    assert x.dtype == np.float32
    assert (x.data >= np.float32(c_min)).all()


def test_each_feature_is_active_with_probability_1_minus_S_independently():
    n_samples, n, p = 40_000, 12, 0.15
    active = coefficients(n_samples, n, 1 - p, stream(1)).toarray() > 0
    assert np.abs(active.mean(0) - p).max() < 5 * np.sqrt(p * (1 - p) / n_samples)
    correlation = np.corrcoef(active.T)
    assert np.abs(correlation[~np.eye(n, dtype=bool)]).max() < 5 / np.sqrt(n_samples)


def test_magnitudes_are_shifted_exponentials_with_scale_beta():
    magnitudes = coefficients(20_000, 5, 0.5, stream(2), c_min=0.7, beta=2.5).data
    assert scipy.stats.kstest(magnitudes, scipy.stats.expon(loc=0.7, scale=2.5).cdf).pvalue > 0.001


def test_noise_has_the_configured_share_of_the_energy():
    n, dimension, sparsity, c_min, beta, noise = 60, 40, 0.9, 0.3, 0.7, 0.5
    W = np.linalg.qr(np.random.default_rng(0).standard_normal((n, n)))[0]  # orthonormal features
    clean = synthesise(coefficients(20_000, n, sparsity, stream(1), c_min, beta), W)
    samples = noisy(clean, noise_deviation(noise, n, n, sparsity, c_min, beta), stream(1, "noise"))
    added = samples - clean
    assert np.square(added).mean() == pytest.approx(noise**2 * np.square(clean).mean(), rel=0.03)
    assert abs(added.mean()) < 5 * added.std() / np.sqrt(added.size)
    assert np.abs(np.corrcoef(added[:, :dimension].T) - np.eye(dimension)).max() < 6 / np.sqrt(len(added))
    assert samples.dtype == np.float32
