import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdlcore.random_streams import stream
from sdlstudy.theory.approximate_loss import Weights, activate, autoencoder
from sdlstudy.theory.exact_loss import ONE, independent
from sdlstudy.theory.landscape import ACTIVATIONS, pattern, random_problem
from sdlstudy.theory.theorem_3_2 import common_threshold, curvature, encoder_hessian, exact_bend, largest_bend

seeds = st.integers(0, 10_000)


@settings(max_examples=25)
@given(seeds, st.sampled_from(ACTIVATIONS))
def test_the_loss_is_convex_in_either_block_within_a_region_and_the_hessian_has_off_diagonal_blocks(seed, activation):
    problem, weights = random_problem(stream(seed, "instance"), activation)
    hessian = curvature(weights, problem)
    scale = problem.M.sum() * max(np.abs(weights.W_dec).max(), np.abs(weights.W_enc).max()) ** 2
    assert min(hessian.least_decoder, hessian.least_encoder) > -1e-9 * scale
    assert largest_bend(weights, problem, stream(0, "segments"), tries=5) < 1e-9 * scale
    np.testing.assert_allclose(encoder_hessian(weights, problem), hessian.encoder, atol=1e-9)


def test_two_latents_of_one_feature_are_coupled_and_those_of_top_1_are_not():
    weights = Weights(np.ones((2, 1)), np.ones((2, 1)))
    hessian = curvature(weights, autoencoder(np.ones((1, 1))))
    np.testing.assert_allclose(hessian.encoder, [[2, 2], [2, 2]])
    assert hessian.coupling(2) == pytest.approx(2)
    for seed in range(20):
        problem, weights = random_problem(stream(seed, "instance"), "topk", k=1)
        assert curvature(weights, problem).coupling(len(weights.W_enc)) == 0


def test_in_both_blocks_at_once_the_loss_is_not_convex():
    # one latent: (1 - uv)^2 is a saddle near the origin
    weights = Weights(np.full((1, 1), 0.1), np.full((1, 1), 0.1))
    assert curvature(weights, autoencoder(np.ones((1, 1)))).least_joint < -1


@given(seeds)
def test_the_exact_loss_is_convex_where_no_latent_changes_its_activity_in_any_state(seed):
    rng = stream(seed, "segment")
    problem, weights = random_problem(rng, "relu")
    other = Weights(weights.W_enc + 0.1 * rng.standard_normal(weights.W_enc.shape), weights.W_dec)
    bend, same = exact_bend(weights, other, problem, independent(problem.n, 0.5, ONE, ONE))
    assert bend < 1e-9 or not same


def test_the_exact_loss_is_not_convex_in_the_regions_of_single_features():
    problem, column = autoencoder(np.eye(2)), np.ones((1, 2))
    ends = [Weights(np.array([[1.0, other]]), column) for other in (-2.0, -0.1)]
    assert (pattern(ends[0].W_enc, problem) == pattern(ends[1].W_enc, problem)).all()
    bend, same = exact_bend(*ends, problem, independent(2, 0.5, ONE, ONE))
    assert not same
    # both active, chance 1/4: errors 2, 2 (1 - z)^2 with z = .9, and 2 at the middle, where z = -.05 is silent
    assert bend == pytest.approx((2 - (2 + 2 * 0.1**2) / 2) / 4)


@given(seeds, st.integers(1, 4))
def test_a_common_threshold_has_the_codes_of_top_k_or_does_not_exist(seed, k):
    problem, weights = random_problem(stream(seed, "instance"), "topk", latents=4, k=k)
    z = weights.W_enc @ problem.W_p
    active = activate(z, problem) > 0
    c = common_threshold(weights, problem)
    if c is not None:
        np.testing.assert_array_equal(z > c, active)
    else:
        assert all(((z > c) != active).any() for c in [0.0, *z[z > 0]])


def test_top_1_of_3_2_and_1_0_has_no_common_threshold():
    weights = Weights(np.array([[3.0, 1.0], [2.0, 0.0]]), np.eye(2))
    assert common_threshold(weights, autoencoder(np.eye(2), k=1)) is None
    assert common_threshold(weights, autoencoder(np.eye(2))) == 0
