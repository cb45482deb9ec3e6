"""What the checks of the theorems compute, against enumeration, automatic differentiation and closed forms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdlcore.benches.config import BenchSamples
from sdlcore.benches.lrb import coefficients
from sdlcore.random_streams import stream
from sdlstudy.theory.approximate_loss import Problem, Weights, activate, approximate_loss, autoencoder, residuals
from sdlstudy.theory.exact_loss import (
    ONE,
    SPARSE,
    at_sparse,
    independent,
    pair_constant,
    rate,
)
from sdlstudy.theory.landscape import (
    ACTIVATIONS,
    best_decoder,
    pattern,
    random_problem,
    unit_columns,
)
from sdlstudy.theory.partial_minima import partial_minimum
from sdlstudy.theory.theorem_3_2 import common_threshold, curvature, encoder_hessian, largest_bend
from sdlstudy.theory.theorem_3_4 import cosines, freedom, own_latents
from sdlstudy.theory.theorem_3_7 import escapes
from sdlstudy.theory.theorem_3_10 import separating_row

seeds = st.integers(0, 10_000)

# Theorem 3.1


homogeneous = st.sampled_from(["relu", "topk"])


def test_states_have_the_chances_of_the_benchs_samples():
    states = independent(3, 0.3, ONE, ONE)
    assert states.chance.sum() == pytest.approx(1)
    assert len(states.x) == 8
    x = (
        coefficients(40_000, 3, BenchSamples(sparsity=0.7, c_min=1.0, beta=1e-9), stream(0, "x")).toarray() > 0.5
    ).astype(float)
    for row, chance in zip(*states, strict=True):
        assert (x == row).all(axis=1).mean() == pytest.approx(chance, abs=0.01)


@given(seeds, homogeneous)
def test_the_difference_shrinks_with_the_square_and_the_constant_is_the_sum_over_pairs(seed, activation):
    problem, weights = random_problem(stream(seed, "instance"), activation)
    larger, smaller = at_sparse(weights, problem)
    assert rate(larger.difference, smaller.difference) == pytest.approx(2, abs=0.02)
    assert smaller.difference / SPARSE[1] ** 2 == pytest.approx(pair_constant(weights, problem), rel=0.01)


# Theorem 3.2


@settings(max_examples=25)
@given(seeds, st.sampled_from(ACTIVATIONS))
def test_the_loss_is_convex_in_either_block_within_a_region_and_the_hessian_has_off_diagonal_blocks(seed, activation):
    problem, weights = random_problem(stream(seed, "instance"), activation)
    hessian = curvature(weights, problem)
    scale = problem.M.sum() * max(np.abs(weights.W_dec).max(), np.abs(weights.W_enc).max()) ** 2
    assert min(hessian.least_decoder, hessian.least_encoder) > -1e-9 * scale
    assert largest_bend(weights, problem, stream(0, "segments"), tries=5) < 1e-9 * scale
    np.testing.assert_allclose(encoder_hessian(weights, problem), hessian.encoder, atol=1e-9)


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


# Theorem 3.4


@given(seeds)
def test_the_scale_of_each_latent_is_a_direction_that_changes_no_residual(seed):
    problem, weights = random_problem(stream(seed, "instance"), "relu")
    scales = stream(seed, "scales").uniform(0.5, 2, (len(weights.W_enc), 1))
    scaled = Weights(scales * weights.W_enc, weights.W_dec / scales)
    np.testing.assert_allclose(residuals(scaled, problem), residuals(weights, problem), atol=1e-9)
    free, unknowns = freedom(weights, problem)
    assert unknowns == sum(part.size for part in weights)
    assert free >= pattern(weights.W_enc, problem).any(axis=1).sum()


@given(seeds)
def test_with_separate_latents_zero_loss_determines_the_decoder_alone(seed):
    rng = stream(seed, "own")
    problem = Problem(unit_columns(6, 4, rng), unit_columns(6, 4, rng), np.ones(4), threshold=0.1)
    weights, other = own_latents(problem, rng), own_latents(problem, rng)
    np.testing.assert_array_equal(pattern(weights.W_enc, problem), np.eye(4, dtype=bool))
    np.testing.assert_allclose(best_decoder(weights.W_enc, problem), weights.W_dec, atol=1e-9)
    assert cosines(weights.W_dec, problem.W_r) == pytest.approx(1)
    assert not np.allclose(cosines(other.W_enc, problem.W_p), cosines(weights.W_enc, problem.W_p))


# Theorem 3.7


@pytest.mark.parametrize(("product", "local"), [(0.4, True), (-0.4, False)])
def test_a_point_traps_descent_if_the_two_features_are_positively_correlated_and_is_a_saddle_otherwise(product, local):
    problem = autoencoder(np.array([[1.0, product], [0.0, np.sqrt(1 - product**2)]]))
    weights, minimum = partial_minimum([[0, 1], []], problem)
    assert minimum == local
    assert approximate_loss(weights, problem) == pytest.approx(1 - product)
    assert (curvature(weights, problem).least_joint > -1e-9) == local
    assert escapes(weights, problem, stream(0, "noise")) != local


# Theorem 3.10


@settings(max_examples=25)
@given(seeds)
def test_a_separating_row_separates(seed):
    rng = stream(seed, "separating")
    W = unit_columns(3, 5, rng)
    members = sorted(rng.choice(5, 2, replace=False).tolist())
    row = separating_row(W, members)
    if row is not None:
        assert np.flatnonzero(row @ W > 1e-8).tolist() == members
