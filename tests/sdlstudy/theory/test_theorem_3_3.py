"""Theorem 3.3 in both versions."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sdlcore.random_streams import stream
from sdlstudy.theory.approximate_loss import Problem, Weights, approximate_loss, autoencoder
from sdlstudy.theory.landscape import ACTIVATIONS, random_problem, unit_columns
from sdlstudy.theory.theorem_3_3 import (
    PAIR,
    at_ground_truth,
    basis_with_opposite,
    bound,
    exceeds,
    ground_truth,
    interference,
    own_latents_active,
    thresholded,
)

seeds = st.integers(0, 10_000)
LONG = Problem(PAIR, 10 * np.eye(2), np.ones(2))


def test_the_ground_truth_is_that_of_equation_14():
    problem, _ = random_problem(stream(0, "instance"), "relu")
    weights = ground_truth(problem, spare=2)
    np.testing.assert_array_equal(weights.W_dec.T, np.hstack([problem.W_r, np.zeros((len(problem.W_r), 2))]))
    np.testing.assert_array_equal(weights.W_enc, np.vstack([problem.W_p.T, np.zeros((2, len(problem.W_p)))]))
    assert approximate_loss(weights, problem) == pytest.approx(at_ground_truth(problem).loss)


@given(seeds, st.sampled_from(ACTIVATIONS))
def test_inequality_64_and_the_later_bound_hold_for_unit_targets(seed, activation):
    problem, _ = random_problem(stream(seed, "instance"), activation)
    assume(own_latents_active(problem))
    solution = at_ground_truth(problem)
    assert (solution.errors <= solution.interference * (solution.active - 1) + 1e-9).all()
    assert solution.loss <= solution.bound + 1e-9
    assert solution.bound <= ((problem.n - 1) * solution.interference) ** 2 * problem.M.sum() + 1e-9
    assert not exceeds(problem)


def test_neither_holds_for_longer_targets():
    solution = at_ground_truth(LONG)
    assert solution.errors == pytest.approx([6, 6])
    assert solution.interference * (solution.active - 1) == pytest.approx([0.6, 0.6])
    assert solution.loss == pytest.approx(72)
    assert bound(LONG) == pytest.approx(2 * 1.2**2)


def test_neither_holds_where_a_threshold_silences_a_features_latent():
    assert at_ground_truth(autoencoder(np.eye(5), threshold=1.0)).loss == 5
    nearly = autoencoder(np.array([[1, 0.1], [0, np.sqrt(0.99)]]), threshold=1.0)
    assert at_ground_truth(nearly).loss == pytest.approx(2)
    assert bound(nearly) == pytest.approx(0.08)


def test_half_of_all_latents_are_active_and_the_constant_grows_with_n():
    solutions = [at_ground_truth(autoencoder(unit_columns(round(0.768 * n), n, stream(n, "W")))) for n in (50, 400)]
    assert [each.active.mean() - 1 for each in solutions] == pytest.approx([24.5, 199.5], rel=0.05)
    assert solutions[1].loss / solutions[1].interference ** 2 > 8 * solutions[0].loss / solutions[0].interference ** 2


@given(seeds)
def test_with_a_threshold_from_m_to_below_1_the_loss_is_zero(seed):
    rng = stream(seed, "features")
    problem = autoencoder(unit_columns(int(rng.integers(3, 9)), 8, rng))
    higher = replace(problem, threshold=float(rng.uniform(max(interference(problem.W_p), 1e-3), 1 - 1e-9)))
    for solution in map(at_ground_truth, (thresholded(problem), higher)):
        assert (solution.active == 1).all()
        assert solution.loss < 1e-20


def test_with_top_k_a_feature_activates_at_most_k():
    for k in (1, 2, 3):
        solution = at_ground_truth(autoencoder(unit_columns(3, 8, stream(0, "W")), k=k))
        assert solution.active.max() <= k
        assert (solution.loss < 1e-20) == (k == 1)


@given(seeds)
def test_a_basis_with_its_opposite_loses_nothing_where_the_ground_truth_does(seed):
    rng = stream(seed, "A")
    problem, A = autoencoder(unit_columns(4, 6, rng)), rng.standard_normal((4, 4))
    assume(np.linalg.cond(A) < 100)
    assert approximate_loss(basis_with_opposite(A), problem) < 1e-15
    assert at_ground_truth(autoencoder(PAIR)).loss == pytest.approx(2 * 0.6**2)


def test_a_decoder_of_zeros_loses_the_sum_of_all_weights():
    problem, weights = random_problem(stream(0, "instance"), "relu")
    assert approximate_loss(Weights(weights.W_enc, 0 * weights.W_dec), problem) == pytest.approx(problem.M.sum())
