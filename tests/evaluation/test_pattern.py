import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdlcore.evaluation.recovery import covariance, patterns


@given(seed=st.integers(0, 10**6), rows=st.integers(1, 200), cut=st.integers(1, 200), far=st.sampled_from([0, 1e4]))
def test_covariance_is_that_of_all_samples_however_they_come(seed, rows, cut, far):
    x = np.random.default_rng(seed).standard_normal((rows, 4)) + far
    sigma = covariance(x[start : start + cut] for start in range(0, rows, cut))
    np.testing.assert_allclose(sigma, np.cov(x.T, bias=True), atol=1e-9)


@given(seed=st.integers(0, 10**6))
def test_the_pattern_of_the_best_linear_read_out_is_the_feature(seed):
    rng = np.random.default_rng(seed)
    W = rng.standard_normal((6, 9))  # more features than dimensions, uncorrelated, with unequal variances
    variances = rng.uniform(0.5, 2, 9)
    sigma = W @ np.diag(variances) @ W.T
    read_out = np.linalg.solve(sigma, W * variances).T  # ridge rows Sigma^-1 cov(x, c_d)
    directions = patterns(read_out, sigma)
    cosines = (directions * W.T).sum(1) / np.linalg.norm(directions, axis=1) / np.linalg.norm(W, axis=0)
    np.testing.assert_allclose(cosines, 1, atol=1e-5)


@pytest.mark.parametrize("scale", [2.0**90, 2.0**-90])
def test_patterns_of_activations_of_any_size_keep_their_directions(scale):
    W = np.random.default_rng(0).standard_normal((3, 4))
    sigma = np.cov(W.T)
    directions = patterns(W.astype(np.float32), sigma * scale**2)
    plain = patterns(W.astype(np.float32), sigma)
    place = np.unravel_index(np.abs(plain).argmax(), plain.shape)
    # all rows are scaled by the same power of two
    assert np.array_equal(directions / directions[place], plain / plain[place])
