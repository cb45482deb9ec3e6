import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdlcore.random_streams import stream
from sdlcore.sources.bench.samples import coefficients
from sdlcore.study.theory.approximation import (
    States,
    exact_bend,
    exclusive,
    explicit_constant,
    hierarchy,
    independent,
    largest_error,
    losses,
    pair_constant,
    rate,
    several_chance,
    single_weights,
    state_errors,
    together,
)
from sdlcore.study.theory.audits.instances import ACTIVATIONS, random_problem
from sdlcore.study.theory.biconvexity import common_pattern
from sdlcore.study.theory.landscape import Problem, Weights, autoencoder

MAGNITUDES, CHANCES = np.array([0.5, 1.0, 2.0]), np.array([0.5, 0.3, 0.2])
ONE = np.ones(1)
seeds = st.integers(0, 10_000)


def features(n, q):
    return independent(n, 1 - q, MAGNITUDES, CHANCES)


def test_states_are_those_that_sampling_gives():
    states = independent(3, 0.7, ONE, ONE)
    assert states.chance.sum() == pytest.approx(1)
    assert len(states.x) == 8
    x = (coefficients(40_000, 3, 0.7, stream(0, "x"), c_min=1.0, beta=1e-9).toarray() > 0.5).astype(float)
    for row, chance in zip(*states, strict=True):
        assert (x == row).all(axis=1).mean() == pytest.approx(chance, abs=0.01)
    with pytest.raises(ValueError, match="states are more than"):
        independent(20, 0.5, ONE, ONE)


def test_the_losses_are_means_over_samples_drawn_by_chance():
    problem, weights = random_problem(stream(0, "instance"), "relu")
    states = features(problem.n, 0.3)
    index = stream(0, "samples").choice(len(states.x), 200_000, p=states.chance)
    x = states.x[index]
    found = losses(weights, problem, states)
    error = state_errors(weights, problem, States(x, np.ones(len(x))))
    assert found.exact == pytest.approx(error.mean(), rel=0.02)
    M = single_weights(states)
    alone = x[(x > 0).sum(axis=1) == 1]
    np.testing.assert_allclose(M, np.square(alone).sum(axis=0) / len(x), rtol=0.05)
    assert pytest.approx(0.3 * 0.7 ** (problem.n - 1) * (CHANCES @ MAGNITUDES**2)) == M


@given(seeds, st.sampled_from(["relu", "topk"]))
def test_theorem_3_1_the_difference_shrinks_with_the_square_and_the_constant_is_the_sum_over_pairs(seed, activation):
    problem, weights = random_problem(stream(seed, "instance"), activation)
    two = [losses(weights, problem, features(problem.n, q)).difference for q in (1e-3, 1e-4)]
    assert rate(*two, 10) == pytest.approx(2, abs=0.02)
    assert two[1] / 1e-8 == pytest.approx(pair_constant(weights, problem, MAGNITUDES, CHANCES), rel=0.01)


@given(seeds, st.floats(1e-3, 1))
def test_the_explicit_constant_bounds_the_difference_at_every_sparsity(seed, q):
    for activation in ("relu", "topk"):
        problem, weights = random_problem(stream(seed, "instance"), activation)
        found = losses(weights, problem, features(problem.n, q))
        bound = explicit_constant(weights, problem, CHANCES @ MAGNITUDES**2) * q**2
        assert -1e-12 <= found.difference <= bound


def test_with_a_threshold_the_difference_shrinks_only_like_1_minus_s_unless_magnitudes_stand_inside():
    one = np.ones((1, 1))
    problem, weights = Problem(one, one, ONE, threshold=0.7), Weights(one, one)
    two = [losses(weights, problem, features(1, q)) for q in (1e-3, 1e-4)]
    assert rate(two[0].difference, two[1].difference, 10) == pytest.approx(1, abs=0.01)
    # magnitude .5 is lost: half of the active, a quarter each
    assert two[0].single == pytest.approx(1e-3 * 0.5 * 0.25)
    assert two[0].approximate == pytest.approx(0)
    for seed in range(20):
        problem, weights = random_problem(stream(seed, "instance"), "jumprelu")
        two = [losses(weights, problem, features(problem.n, q)) for q in (1e-3, 1e-4)]
        assert rate(two[0].several, two[1].several, 10) == pytest.approx(2, abs=0.02)
        # magnitudes that are all one leave nothing to stand inside
        single = losses(weights, problem, independent(problem.n, 0.9, ONE, ONE))
        assert single.single == pytest.approx(single.approximate)


def test_two_active_features_are_likelier_than_the_proof_says_and_no_likelier_than_the_union_bound():
    assert several_chance(2, 0.9) == pytest.approx(0.01)
    assert several_chance(3, 0.9) == pytest.approx(1 - 0.9**3 - 3 * 0.1 * 0.9**2)
    assert several_chance(3, 0.9) > 0.01
    assert several_chance(1000, 0.99) == pytest.approx(0.9995, abs=5e-5)
    for n in (2, 3, 10, 1000):
        for S in (0.5, 0.9, 0.999):
            assert several_chance(n, S) <= n * (n - 1) / 2 * (1 - S) ** 2 * (1 + 1e-9)


def test_read_literally_m_counts_the_zero_vector_and_the_difference_does_not_shrink():
    zero = np.zeros((1, 1))
    for q in (1e-2, 1e-4):
        found = losses(Weights(zero, zero), autoencoder(np.ones((1, 1))), independent(1, 1 - q, ONE, ONE), literal=True)
        assert found.exact == pytest.approx(q)
        assert found.approximate == pytest.approx(1)


def test_of_a_parent_the_approximate_loss_knows_nothing():
    states = hierarchy(2, 0.9)
    assert states.chance[states.x[:, 0] > 0].sum() == pytest.approx(1 - 0.9**2)
    assert single_weights(states) == pytest.approx([0, 0, 0])
    # and it is not independent of its children
    parent, child = (states.x > 0)[:, 0], (states.x > 0)[:, 1]
    assert states.chance @ (parent & child) > 1.2 * (states.chance @ parent) * (states.chance @ child)
    weights, problem = Weights(np.eye(3)[1:], np.eye(3)[1:]), autoencoder(np.eye(3))
    two = [losses(weights, problem, hierarchy(2, 1 - q)).difference for q in (1e-3, 1e-4)]
    assert rate(*two, 10) == pytest.approx(1, abs=0.01)
    assert two[1] == pytest.approx(2e-4, rel=1e-3)


@given(seeds)
def test_the_loss_of_all_states_is_convex_where_no_latent_changes_its_activity(seed):
    rng = stream(seed, "segment")
    problem, weights = random_problem(rng, "relu")
    other = Weights(weights.W_enc + 0.1 * rng.standard_normal(weights.W_enc.shape), weights.W_dec)
    found, same = exact_bend(weights, other, problem, independent(problem.n, 0.5, ONE, ONE))
    assert found < 1e-9 or not same


def test_and_not_in_the_regions_of_single_features():
    problem, column = autoencoder(np.eye(2)), np.ones((1, 2))
    ends = [Weights(np.array([[1.0, other]]), column) for other in (-2.0, -0.1)]
    assert common_pattern(*ends, problem)
    found, same = exact_bend(*ends, problem, independent(2, 0.5, ONE, ONE))
    assert not same
    # both active, chance 1/4: errors 2, 2 (1 - z)^2 with z = .9, and 2 at the middle, where z = -.05 is silent
    assert found == pytest.approx((2 - (2 + 2 * 0.1**2) / 2) / 4)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_random_instances_have_every_feature_in_some_latent(activation):
    problem, weights = random_problem(stream(0, "instance"), activation)
    assert (losses(weights, problem, independent(problem.n, 0.5, ONE, ONE)).exact) > 0
    assert (problem.threshold > 0) == (activation == "jumprelu")


def largest(weights, problem, states):
    return state_errors(weights, problem, states).max()


@given(seeds, st.floats(1e-4, 1), st.sampled_from(["relu", "topk"]))
def test_theorem_3_1_later_half_of_its_bound_holds_at_every_sparsity(seed, q, activation):
    problem, weights = random_problem(stream(seed, "instance"), activation)
    states = features(problem.n, q)
    bound = problem.n * (problem.n - 1) / 2 * largest(weights, problem, states) * q**2
    assert -1e-12 <= losses(weights, problem, states).difference <= bound * (1 + 1e-9)


@given(seeds, st.floats(1e-4, 1))
def test_and_the_difference_never_exceeds_the_largest_error_which_the_bound_does_from_1_over_n_on(seed, q):
    problem, weights = random_problem(stream(seed, "instance"), "relu")
    states = features(problem.n, q)
    found = losses(weights, problem, states)
    for loss in (found.exact, found.approximate, abs(found.difference)):
        assert loss <= largest(weights, problem, states) * (1 + 1e-9)


def test_theorem_3_1_later_fails_with_a_threshold():
    one = np.ones((1, 1))
    problem, weights = Problem(one, one, ONE, threshold=0.7), Weights(one, one)
    for q in (0.1, 1e-3):
        # half of the active have magnitude .5 and are lost
        assert losses(weights, problem, features(1, q)).difference == pytest.approx(q * 0.5 * 0.25)
        assert largest(weights, problem, features(1, q)) * q**2 < q * 0.5 * 0.25


@given(st.integers(2, 6), st.floats(1e-4, 1))
def test_theorem_3_1_later_fails_where_features_are_always_active_together_and_rare(n, p):
    weights = Weights(np.zeros((1, n)), np.zeros((1, n)))
    problem, states = autoencoder(np.eye(n)), together(n, p)
    found = losses(weights, problem, states)
    assert single_weights(states).tolist() == [0] * n
    assert found.difference == pytest.approx(n * p)
    assert (found.difference > n**2 * largest(weights, problem, states) * p**2) == (p < 1 / n**2)


@given(st.integers(2, 6), st.floats(0.01, 1))
def test_where_features_exclude_each_other_both_losses_are_one(n, share):
    problem, weights = random_problem(stream(n, "instance"), "relu")
    states = exclusive(problem.n, share / problem.n)
    assert states.chance.sum() == pytest.approx(1)
    assert losses(weights, problem, states).difference == pytest.approx(0, abs=1e-12)


@given(seeds, st.floats(0.1, 10))
def test_the_error_is_bounded_where_magnitudes_are_and_grows_with_their_square(seed, magnitude):
    for activation in ("relu", "topk"):
        problem, weights = random_problem(stream(seed, "instance"), activation)
        states = independent(problem.n, 0.5, magnitude * ONE, ONE)
        assert largest(weights, problem, states) <= largest_error(weights, problem, magnitude) * (1 + 1e-9)
        twice = States(2 * states.x, states.chance)
        assert largest(weights, problem, twice) == pytest.approx(4 * largest(weights, problem, states))
