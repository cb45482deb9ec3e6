import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdlcore.random_streams import stream
from sdlstudy.theory.approximate_loss import Problem, Weights, approximate_loss, autoencoder, residuals
from sdlstudy.theory.landscape import best_decoder, pattern, random_problem, unit_columns
from sdlstudy.theory.theorem_3_3 import basis_with_opposite, ground_truth
from sdlstudy.theory.theorem_3_4 import cosines, freedom, own_latents

seeds = st.integers(0, 10_000)


@given(seeds, st.booleans())
def test_the_loss_is_zero_if_and_only_if_every_feature_is_reconstructed(seed, zero):
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
    """One feature in one dimension: w_D w_E = 1 leaves one of two directions; a further latent is free altogether."""
    problem = autoencoder(np.ones((1, 1)), threshold=0.5)
    assert freedom(ground_truth(problem), problem) == (1, 2)
    assert freedom(ground_truth(problem, spare=1), problem) == (3, 4)


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
    problem = autoencoder(unit_columns(16, 20, stream(0, "W")))
    weights = basis_with_opposite(stream(0, "A").standard_normal((16, 16)))
    assert approximate_loss(weights, problem) < 1e-12
    assert max(cosines(part, problem.W_p).max() for part in weights) < 0.9
    assert cosines(problem.W_p.T, problem.W_p) == pytest.approx(1)


@given(seeds)
def test_with_separate_latents_zero_loss_determines_the_decoder_alone(seed):
    rng = stream(seed, "own")
    problem = Problem(unit_columns(6, 4, rng), unit_columns(6, 4, rng), np.ones(4), threshold=0.1)
    weights, other = own_latents(problem, rng), own_latents(problem, rng)
    np.testing.assert_array_equal(pattern(weights.W_enc, problem), np.eye(4, dtype=bool))
    np.testing.assert_allclose(best_decoder(weights.W_enc, problem), weights.W_dec, atol=1e-9)
    assert cosines(weights.W_dec, problem.W_r) == pytest.approx(1)
    assert not np.allclose(cosines(other.W_enc, problem.W_p), cosines(weights.W_enc, problem.W_p))
