"""Example 3.5 and Theorem 3.7."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdlcore.random_streams import stream
from sdlstudy.theory.approximate_loss import approximate_loss, autoencoder, gradients
from sdlstudy.theory.example_3_5 import example_3_5
from sdlstudy.theory.landscape import alternate, descend, gradient_norm, perturbed, with_best_decoder
from sdlstudy.theory.partial_minima import group_points, partial_minimum
from sdlstudy.theory.theorem_3_2 import curvature
from sdlstudy.theory.theorem_3_7 import counterexample, escapes


def test_example_3_5_has_loss_1_and_no_gradient():
    problem, weights = example_3_5()
    assert approximate_loss(weights, problem) == 1
    assert gradient_norm(weights, problem) == 0
    assert alternate(weights, problem, 10).left_after is None


def test_example_3_5_traps_under_top_1_and_under_relu_only_with_a_latent_that_is_really_dead():
    rng, ends = stream(0, "noise"), {}
    for name, dead, k in (("top-1", 0.0, 1), ("relu", 0.0, None), ("relu, dead", -0.5, None)):
        problem, weights = example_3_5(dead, k)
        ends[name] = [approximate_loss(descend(perturbed(weights, rng), problem, 1000), problem) for _ in range(4)]
    assert ends["top-1"] == pytest.approx([1] * 4, abs=1e-3)
    assert ends["relu, dead"] == pytest.approx([1] * 4, abs=1e-3)
    assert min(ends["relu"]) < 1e-3


def test_the_counterexample_has_a_gradient_of_four_ninths_and_no_point():
    problem, weights = counterexample()
    np.testing.assert_allclose(gradients(weights, problem).W_enc[0], [-4 / 9, 4 / 9], atol=1e-12)
    np.testing.assert_allclose(gradients(weights, problem).W_dec, 0, atol=1e-12)
    assert group_points(problem.W_r, problem.M) == []


@given(st.floats(0.01, 100))
def test_the_loss_of_the_counterexamples_rows_falls_towards_the_border_so_no_row_is_stationary(ratio):
    problem, _ = counterexample()

    def profiled(r):
        return approximate_loss(with_best_decoder(np.array([[1.0, r]]), problem), problem)

    assert profiled(ratio) == pytest.approx(3 - (4 + ratio**2) / (2 + ratio**2))
    assert profiled(0.99 * ratio) < profiled(ratio)


def test_alternating_minimisation_tends_to_the_border_of_the_region_and_leaves_it_with_a_threshold():
    problem, weights = counterexample()
    search = alternate(weights, problem, 20)
    row = search.weights.W_enc[0]
    assert search.left_after is None
    assert row[1] / row[0] == pytest.approx(2.0**-20)
    assert search.losses[-1] == pytest.approx(1)
    problem, weights = counterexample(threshold=0.1)
    assert alternate(weights, problem, 20).left_after is not None


@pytest.mark.parametrize(("product", "local"), [(0.4, True), (-0.4, False)])
def test_a_point_traps_descent_if_the_two_features_are_positively_correlated_and_is_a_saddle_otherwise(product, local):
    problem = autoencoder(np.array([[1.0, product], [0.0, np.sqrt(1 - product**2)]]))
    weights, minimum = partial_minimum([[0, 1], []], problem)
    assert minimum == local
    assert approximate_loss(weights, problem) == pytest.approx(1 - product)
    assert (curvature(weights, problem).least_joint > -1e-9) == local
    assert escapes(weights, problem, stream(0, "noise")) != local


def test_one_latent_for_two_features_with_equal_targets_loses_nothing():
    problem = replace(autoencoder(np.array([[1.0, 0.4], [0.0, np.sqrt(1 - 0.4**2)]])), W_r=np.ones((1, 2)))
    row = np.linalg.solve(problem.W_p.T, np.ones(2))
    assert approximate_loss(with_best_decoder(row[None], problem), problem) == pytest.approx(0, abs=1e-12)
