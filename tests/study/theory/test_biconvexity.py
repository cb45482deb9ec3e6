import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdlcore.random_streams import stream
from sdlcore.study.theory.audits.instances import ACTIVATIONS, random_problem
from sdlcore.study.theory.biconvexity import (
    common_threshold,
    curvature,
    encoder_hessian,
    hessian,
    largest_bend,
    pattern_loss,
)
from sdlcore.study.theory.landscape import Problem, Weights, activate, approximate_loss, autoencoder, pattern

instances = st.tuples(st.integers(0, 10_000), st.sampled_from(ACTIVATIONS))


def drawn(instance, **settings):
    seed, activation = instance
    return random_problem(stream(seed, "instance"), activation, **settings)


@given(instances)
def test_theorem_3_2_the_loss_is_convex_in_either_block_within_a_region(instance):
    problem, weights = drawn(instance)
    found = curvature(weights, problem)
    scale = problem.M.sum() * max(np.abs(weights.W_dec).max(), np.abs(weights.W_enc).max()) ** 2
    assert min(found.least_decoder, found.least_encoder) > -1e-9 * scale
    assert largest_bend(weights, problem, stream(0, "segments"), tries=5) < 1e-9 * scale


@given(instances)
def test_the_hessian_has_the_blocks_that_the_proof_leaves_out(instance):
    problem, weights = drawn(instance)
    size = weights.W_enc.size
    np.testing.assert_allclose(encoder_hessian(weights, problem), hessian(weights, problem)[:size, :size], atol=1e-9)


def test_two_latents_of_one_feature_are_coupled_and_those_of_top_1_are_not():
    one = np.ones((1, 1))
    problem, weights = Problem(one, one, np.ones(1)), Weights(np.ones((2, 1)), np.ones((2, 1)))
    np.testing.assert_allclose(encoder_hessian(weights, problem), [[2, 2], [2, 2]])
    assert curvature(weights, problem).off_diagonal == pytest.approx(2)
    for seed in range(20):
        problem, weights = drawn((seed, "topk"), k=1)
        assert curvature(weights, problem).off_diagonal == 0


def test_in_both_blocks_at_once_the_loss_is_not_convex():
    # one latent: (1 - uv)^2 is a saddle at the origin's side
    problem = autoencoder(np.ones((1, 1)))
    assert curvature(Weights(np.full((1, 1), 0.1), np.full((1, 1), 0.1)), problem).least_joint < -1


@given(instances)
def test_the_loss_with_its_pattern_fixed_is_the_loss(instance):
    import torch

    problem, weights = drawn(instance)
    value = pattern_loss(*map(torch.from_numpy, weights), pattern(weights.W_enc, problem), problem)
    assert float(value) == pytest.approx(approximate_loss(weights, problem))


def test_a_bend_is_seen_where_a_segment_leaves_convexity():

    problem = autoencoder(np.eye(1))
    weights = Weights(np.array([[1.0]]), np.array([[1.0]]))
    assert largest_bend(weights, problem, stream(0, "segments")) <= 1e-12
    # across regions the loss bends: from a dead latent to a good one
    ends = [approximate_loss(Weights(np.array([[u]]), np.array([[1.0]])), problem) for u in (-1.0, 1.0, 0.0)]
    assert ends == [1.0, 0.0, 1.0]


@given(st.integers(0, 10_000), st.integers(1, 4))
def test_a_common_threshold_gives_what_top_k_keeps_or_there_is_none(seed, k):
    problem, weights = drawn((seed, "topk"), latents=4, k=k)
    z = weights.W_enc @ problem.W_p
    kept = activate(z, problem) > 0
    c = common_threshold(weights, problem)
    if c is not None:
        np.testing.assert_array_equal(z > c, kept)
    else:
        assert all(((z > c) != kept).any() for c in [0.0, *z[z > 0]])


def test_top_1_of_3_2_and_1_0_has_no_common_threshold():
    weights = Weights(np.array([[3.0, 1.0], [2.0, 0.0]]), np.eye(2))
    assert common_threshold(weights, autoencoder(np.eye(2), k=1)) is None
    assert common_threshold(weights, autoencoder(np.eye(2))) == 0
