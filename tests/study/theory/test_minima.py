from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdlcore.random_streams import stream
from sdlcore.sources.bench.feature_matrix import feature_matrix
from sdlcore.study.theory.audits.instances import ACTIVATIONS, random_problem
from sdlcore.study.theory.landscape import (
    Problem,
    Weights,
    approximate_loss,
    autoencoder,
    best_decoder,
    codes,
    pattern,
    residuals,
    unit_columns,
)
from sdlcore.study.theory.minima import (
    at_ground_truth,
    basis_with_opposite,
    cosines,
    exponent,
    freedom,
    ground_truth,
    interference,
    own_latents,
)

seeds = st.integers(0, 10_000)
PAIR = np.array([[1, 0.6], [0, 0.8]])


@given(seeds, st.integers(0, 3))
def test_the_ground_truth_is_that_of_equation_14(seed, spare):
    problem, _ = random_problem(stream(seed, "instance"), "relu")
    weights = ground_truth(problem, problem.n + spare)
    np.testing.assert_array_equal(weights.W_dec.T, np.hstack([problem.W_r, np.zeros((len(problem.W_r), spare))]))
    assert not weights.W_enc[problem.n :].any()
    assert approximate_loss(weights, problem) == pytest.approx(at_ground_truth(problem).loss)
    with pytest.raises(ValueError, match="as many or more"):
        ground_truth(problem, problem.n - 1)


@given(seeds, st.sampled_from(ACTIVATIONS))
def test_inequality_64_and_so_theorem_3_3_later_hold_for_unit_targets(seed, activation):
    problem, _ = random_problem(stream(seed, "instance"), activation)
    found = at_ground_truth(problem)
    if interference(problem.W_p) < 0 or not np.diag(pattern(problem.W_p.T, problem)).all():
        return
    assert (found.errors <= found.interference * (found.active - 1) + 1e-9).all()
    assert found.loss <= found.bound + 1e-9
    n = problem.n
    # which is less than the later theorem's, (n M)^2 times the sum
    assert found.bound <= found.interference**2 * (n - 1) ** 2 * problem.M.sum() + 1e-9


def test_and_not_for_targets_of_another_norm():
    found = at_ground_truth(Problem(PAIR, 10 * np.eye(2), np.ones(2)))
    assert found.errors == pytest.approx([6, 6])
    assert found.interference * (found.active - 1) == pytest.approx([0.6, 0.6])


def test_the_number_of_active_latents_and_the_constant_grow_with_n():
    sizes = [50, 100, 200, 400]
    found = [at_ground_truth(autoencoder(unit_columns(round(0.768 * n), n, stream(n, "W")))) for n in sizes]
    assert exponent(sizes, [each.active.mean() - 1 for each in found]) == pytest.approx(1, abs=0.05)
    assert exponent(sizes, [each.loss / each.interference**2 for each in found]) > 1.2


def test_at_the_paper_s_bench_a_feature_activates_half_of_all_latents():
    W = feature_matrix(768, 1000, stream(0, "theory", "bench")).W.astype(float)
    active = (W.T @ W > 0).sum(axis=0) - 1
    assert active.mean() == pytest.approx(499.5, abs=5)


@given(seeds)
def test_theorem_3_3_repaired_with_a_threshold_from_m_on_but_below_1_the_loss_is_zero(seed):
    rng = stream(seed, "features")
    problem = autoencoder(unit_columns(int(rng.integers(3, 9)), 8, rng))
    M = interference(problem.W_p)
    found = at_ground_truth(replace(problem, threshold=float(rng.uniform(max(M, 1e-3), 1 - 1e-9))))
    assert (found.active == 1).all()
    assert found.loss < 1e-20


def test_with_a_threshold_from_1_on_no_latent_answers():
    assert at_ground_truth(autoencoder(np.eye(5), threshold=1.0)).loss == 5


def test_with_top_k_a_feature_activates_at_most_k():
    for k in (1, 2, 3):
        found = at_ground_truth(autoencoder(unit_columns(3, 8, stream(0, "W")), k=k))
        assert found.active.max() <= k
        assert (found.loss < 1e-20) == (k == 1)


@given(seeds)
def test_a_basis_with_its_opposite_loses_nothing_where_the_ground_truth_does(seed):
    rng = stream(seed, "A")
    problem, A = autoencoder(unit_columns(4, 6, rng)), rng.standard_normal((4, 4))
    if np.linalg.cond(A) < 100:
        assert approximate_loss(basis_with_opposite(A), problem) < 1e-15
    assert at_ground_truth(autoencoder(PAIR)).loss == pytest.approx(2 * 0.6**2)


@given(seeds, st.booleans())
def test_theorem_3_4_the_loss_is_zero_if_and_only_if_every_feature_is_reconstructed(seed, zero):
    rng = stream(seed, "weights")
    problem, weights = random_problem(rng, "relu")
    if zero:
        problem = Problem(unit_columns(5, 4, rng), unit_columns(5, 4, rng), rng.uniform(0.1, 1, 4))
        weights = own_latents(problem, rng)
    reconstructed = np.abs(residuals(weights, problem)).max() < 1e-9
    assert reconstructed == zero == (approximate_loss(weights, problem) < 1e-15)


def test_a_feature_that_is_never_alone_may_be_lost_at_zero_loss():
    problem = autoencoder(np.eye(2), np.array([0.0, 1.0]))
    weights = Weights(np.eye(2)[1:], np.eye(2)[1:])
    assert approximate_loss(weights, problem) == 0
    assert np.linalg.norm(residuals(weights, problem)[:, 0]) == 1


def test_solutions_are_free_with_as_many_latents_as_features():
    """One feature in one dimension: w_D w_E = 1 leaves one direction of two; a latent more is free altogether."""
    problem = autoencoder(np.ones((1, 1)), threshold=0.5)
    assert freedom(ground_truth(problem), problem) == (1, 2)
    assert freedom(ground_truth(problem, 2), problem) == (3, 4)


@given(seeds)
def test_the_scale_of_each_latent_is_a_direction_that_changes_no_residual(seed):
    problem, weights = random_problem(stream(seed, "instance"), "relu")
    scales = stream(seed, "scales").uniform(0.5, 2, (len(weights.W_enc), 1))
    scaled = Weights(scales * weights.W_enc, weights.W_dec / scales)
    np.testing.assert_allclose(residuals(scaled, problem), residuals(weights, problem), atol=1e-9)
    free, unknowns = freedom(weights, problem)
    assert unknowns == sum(part.size for part in weights)
    assert free >= pattern(weights.W_enc, problem).any(axis=1).sum()


def test_zero_loss_without_any_feature_recovered():
    problem, rng = autoencoder(unit_columns(16, 20, stream(0, "W"))), stream(0, "A")
    for _ in range(5):
        weights = basis_with_opposite(rng.standard_normal((16, 16)))
        assert approximate_loss(weights, problem) < 1e-12
    assert min(cosines(part, problem.W_p).max() for part in weights) < 0.9
    assert cosines(problem.W_p.T, problem.W_p) == pytest.approx(1)


@given(seeds)
def test_with_latents_of_their_own_zero_loss_determines_the_decoder_and_not_the_encoder(seed):
    rng = stream(seed, "own")
    problem = Problem(unit_columns(6, 4, rng), unit_columns(6, 4, rng), np.ones(4), threshold=0.1)
    weights = own_latents(problem, rng)
    np.testing.assert_array_equal(pattern(weights.W_enc, problem), np.eye(4, dtype=bool))
    assert np.linalg.matrix_rank(codes(weights.W_enc, problem)) == 4
    np.testing.assert_allclose(best_decoder(weights.W_enc, problem), weights.W_dec, atol=1e-9)
    assert cosines(weights.W_dec, problem.W_r) == pytest.approx(1)
    other = own_latents(problem, rng)
    assert not np.allclose(cosines(other.W_enc, problem.W_p), cosines(weights.W_enc, problem.W_p))


def test_theorem_3_3_later_does_not_hold_for_longer_targets_nor_where_a_threshold_silences_a_feature_s_own_latent():
    # errors of 6 each, against n M = 1.2
    assert at_ground_truth(Problem(PAIR, 10 * np.eye(2), np.ones(2))).loss == pytest.approx(72)
    nearly = autoencoder(np.array([[1, 0.1], [0, np.sqrt(0.99)]]), threshold=1.0)
    assert at_ground_truth(nearly).loss == pytest.approx(2)
    assert 2 * (2 * interference(nearly.W_p)) ** 2 == pytest.approx(0.08)


@given(seeds)
def test_a_decoder_of_zeros_loses_the_sum_of_all_weights(seed):
    problem, weights = random_problem(stream(seed, "instance"), "relu")
    problem = replace(problem, W_r=problem.W_r / np.linalg.norm(problem.W_r, axis=0))
    assert approximate_loss(Weights(weights.W_enc, 0 * weights.W_dec), problem) == pytest.approx(problem.M.sum())
