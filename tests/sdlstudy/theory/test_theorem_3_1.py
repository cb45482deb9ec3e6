"""Theorem 3.1 in both versions, and the exact losses that it compares."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdlcore.benches.lrb import coefficients
from sdlcore.random_streams import stream
from sdlstudy.theory.approximate_loss import Problem, Weights, autoencoder
from sdlstudy.theory.exact_loss import (
    CHANCES,
    MAGNITUDES,
    ONE,
    SECOND_MOMENT,
    SPARSE,
    States,
    at_sparse,
    error_norm,
    exclusive,
    hierarchy,
    independent,
    losses,
    pair_constant,
    rate,
    several_chance,
    single_weights,
    state_errors,
    together,
)
from sdlstudy.theory.landscape import random_problem

seeds = st.integers(0, 10_000)
homogeneous = st.sampled_from(["relu", "topk"])
UNIT = np.ones((1, 1))
JUMP = Weights(UNIT, UNIT), Problem(UNIT, UNIT, ONE, threshold=0.7)
"""One feature of magnitude .5, 1 or 2; the threshold loses the magnitude .5."""


def largest(weights, problem, states):
    return state_errors(weights, problem, states).max()


def test_states_have_the_chances_of_the_benchs_samples():
    states = independent(3, 0.3, ONE, ONE)
    assert states.chance.sum() == pytest.approx(1)
    assert len(states.x) == 8
    x = (coefficients(40_000, 3, 0.7, stream(0, "x"), c_min=1.0, beta=1e-9).toarray() > 0.5).astype(float)
    for row, chance in zip(*states, strict=True):
        assert (x == row).all(axis=1).mean() == pytest.approx(chance, abs=0.01)


def test_the_losses_are_sums_over_states():
    problem, weights = random_problem(stream(0, "instance"), "relu")
    states = independent(problem.n, 0.3)
    loss = losses(weights, problem, states)
    assert loss.exact == pytest.approx(states.chance @ state_errors(weights, problem, states))
    assert loss.difference == pytest.approx(loss.exact - loss.approximate)
    assert pytest.approx(0.3 * 0.7 ** (problem.n - 1) * (CHANCES @ MAGNITUDES**2)) == single_weights(states)


@given(seeds, homogeneous)
def test_the_difference_shrinks_with_the_square_and_the_constant_is_the_sum_over_pairs(seed, activation):
    problem, weights = random_problem(stream(seed, "instance"), activation)
    larger, smaller = at_sparse(weights, problem)
    assert rate(larger.difference, smaller.difference) == pytest.approx(2, abs=0.02)
    assert smaller.difference / SPARSE[1] ** 2 == pytest.approx(pair_constant(weights, problem), rel=0.01)


@given(seeds, homogeneous, st.floats(1e-4, 1))
def test_both_constants_bound_the_difference_at_every_sparsity(seed, activation, q):
    """Version 3's explicit constant, and half of the later revision's bound, without its condition 1 - S <= 1/n."""
    problem, weights = random_problem(stream(seed, "instance"), activation)
    states, pairs = independent(problem.n, q), problem.n * (problem.n - 1) / 2
    difference, supremum = losses(weights, problem, states).difference, largest(weights, problem, states)
    assert -1e-12 <= difference <= 2 * pairs * SECOND_MOMENT * error_norm(weights, problem) ** 2 * q**2
    assert difference <= pairs * supremum * q**2 * (1 + 1e-9)
    # the trivial bound, which the later bound exceeds from 1 - S = 1/n on
    assert difference <= supremum
    assert supremum <= problem.n * 4 * error_norm(weights, problem) ** 2


def test_with_a_threshold_the_difference_is_of_order_1_minus_s():
    larger, smaller = at_sparse(*JUMP)
    assert rate(larger.difference, smaller.difference) == pytest.approx(1, abs=0.01)
    # half of the active samples have magnitude .5 and lose a quarter each
    assert larger.single == larger.difference == pytest.approx(1e-3 * 0.5 * 0.25)
    states = independent(1, 1e-3)
    assert largest(*JUMP, states) * 1e-6 < larger.difference
    # magnitudes inside sigma remove the effect
    problem, weights = random_problem(stream(0, "instance"), "jumprelu")
    larger, smaller = at_sparse(weights, problem)
    assert rate(larger.several, smaller.several) == pytest.approx(2, abs=0.02)


def test_two_active_features_are_likelier_than_the_proof_says_and_no_likelier_than_the_union_bound():
    assert several_chance(3, 0.1) == pytest.approx(1 - 0.9**3 - 3 * 0.1 * 0.9**2)
    assert several_chance(3, 0.1) > 0.01
    assert several_chance(1000, 0.01) == pytest.approx(0.9995, abs=5e-5)
    for n in (2, 3, 10, 1000):
        for q in (0.5, 0.1, 0.001):
            assert several_chance(n, q) <= n * (n - 1) / 2 * q**2 * (1 + 1e-9)


def test_read_literally_m_counts_the_zero_vector_and_the_difference_does_not_shrink():
    zero = np.zeros((1, 1))
    for q in SPARSE:
        loss = losses(Weights(zero, zero), autoencoder(UNIT), independent(1, q, ONE, ONE), literal=True)
        assert loss.exact == pytest.approx(q)
        assert loss.approximate == pytest.approx(1)


def test_in_a_hierarchy_no_feature_is_active_alone():
    states = hierarchy(2, 0.1)
    assert states.chance[states.x[:, 0] > 0].sum() == pytest.approx(1 - 0.9**2)
    assert single_weights(states).tolist() == [0, 0, 0]
    weights = Weights(np.eye(3)[1:], np.eye(3)[1:])
    larger, smaller = at_sparse(weights, autoencoder(np.eye(3)), lambda n, q: hierarchy(n - 1, q))
    assert rate(larger.difference, smaller.difference) == pytest.approx(1, abs=0.01)
    assert smaller.difference == pytest.approx(2e-4, rel=1e-3)


@given(st.integers(2, 6), st.floats(1e-4, 1))
def test_the_later_bound_fails_where_features_are_always_active_together_and_rare(n, p):
    weights = Weights(np.zeros((1, n)), np.zeros((1, n)))
    problem, states = autoencoder(np.eye(n)), together(n, p)
    loss = losses(weights, problem, states)
    assert loss.approximate == 0
    assert loss.difference == pytest.approx(n * p)
    assert (loss.difference > n**2 * largest(weights, problem, states) * p**2) == (p < 1 / n**2)


@given(seeds, st.floats(0.01, 1))
def test_where_features_exclude_each_other_both_losses_are_one(seed, share):
    problem, weights = random_problem(stream(seed, "instance"), "relu")
    states = exclusive(problem.n, share / problem.n)
    assert states.chance.sum() == pytest.approx(1)
    assert losses(weights, problem, states).difference == pytest.approx(0, abs=1e-12)


@given(seeds, homogeneous)
def test_the_error_grows_with_the_square_of_magnitudes_so_its_supremum_is_infinite(seed, activation):
    problem, weights = random_problem(stream(seed, "instance"), activation)
    states = independent(problem.n, 0.5)
    twice = States(2 * states.x, states.chance)
    assert largest(weights, problem, twice) == pytest.approx(4 * largest(weights, problem, states))
