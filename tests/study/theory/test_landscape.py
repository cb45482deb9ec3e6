from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sdlcore.random_streams import stream
from sdlcore.study.theory.audits.instances import ACTIVATIONS, random_problem
from sdlcore.study.theory.landscape import (
    Problem,
    Weights,
    alternate,
    approximate_loss,
    autoencoder,
    best_decoder,
    best_encoder,
    closed_gradients,
    codes,
    descend,
    gradients,
    model_loss,
    pattern,
    perturbed,
    to_model,
    unit_columns,
)

instances = st.tuples(st.integers(0, 10_000), st.sampled_from(ACTIVATIONS))


def drawn(instance):
    seed, activation = instance
    return random_problem(stream(seed, "instance"), activation)


# each builds a model of PyTorch, and takes 0.04 s
@settings(max_examples=25)
@given(instances)
def test_the_loss_is_that_of_equation_11_and_of_the_packages_own_model(instance):
    problem, weights = drawn(instance)
    W_E, W_D, total = weights.W_enc, weights.W_dec.T, 0.0
    for d in range(problem.n):
        z = W_E @ problem.W_p[:, d]
        kept = z > problem.threshold
        if problem.k is not None:
            kept &= z >= np.sort(z)[-problem.k]
        total += problem.M[d] * np.linalg.norm(problem.W_r[:, d] - W_D @ np.where(kept, z, 0)) ** 2
    assert approximate_loss(weights, problem) == pytest.approx(total)
    model = to_model(weights, problem)
    assert float(model_loss(model, problem).detach()) == pytest.approx(total)
    assert model.W_enc.dtype == torch.float64


@given(instances)
def test_formulas_of_gradients_are_what_automatic_differentiation_gives(instance):
    problem, weights = drawn(instance)
    for formula, automatic in zip(closed_gradients(weights, problem), gradients(weights, problem), strict=True):
        np.testing.assert_allclose(formula, automatic, atol=1e-10)


@given(instances)
def test_each_block_s_minimum_has_no_gradient_left_and_no_better_neighbour(instance):
    problem, weights = drawn(instance)
    decoded = Weights(weights.W_enc, best_decoder(weights.W_enc, problem))
    assert np.abs(gradients(decoded, problem).W_dec).max() < 1e-9
    rng = stream(0, "neighbour")
    for _ in range(5):
        other = Weights(decoded.W_enc, decoded.W_dec + 0.1 * rng.standard_normal(decoded.W_dec.shape))
        assert approximate_loss(other, problem) >= approximate_loss(decoded, problem) - 1e-9
    encoded = Weights(best_encoder(weights, problem), weights.W_dec)
    if (pattern(encoded.W_enc, problem) == pattern(weights.W_enc, problem)).all():
        assert np.abs(gradients(encoded, problem).W_enc).max() < 1e-7
        assert approximate_loss(encoded, problem) <= approximate_loss(weights, problem) + 1e-9


@given(instances)
def test_alternating_minimisation_descends_while_it_stays_in_its_region(instance):
    problem, weights = drawn(instance)
    found = alternate(weights, problem, iterations=5)
    losses = found.losses if found.left_after is None else found.losses[:-1]
    assert all(after <= before + 1e-9 for before, after in pairwise(losses))
    stayed = (pattern(found.weights.W_enc, problem) == pattern(weights.W_enc, problem)).all()
    assert stayed == (found.left_after is None)


def test_descent_finds_a_dictionary_for_two_orthogonal_features():
    problem = autoencoder(np.eye(2))
    start = perturbed(Weights(np.array([[1.0, -0.5], [-0.5, 1.0]]), np.eye(2)), stream(0, "noise"))
    assert approximate_loss(descend(start, problem), problem) < 1e-12


def test_what_does_not_fit_is_refused():
    W = unit_columns(3, 2, stream(0, "W"))
    assert np.linalg.norm(W, axis=0) == pytest.approx(1)
    with pytest.raises(ValueError, match="do not fit"):
        Problem(W, W[:, :1], np.ones(2))
    with pytest.raises(ValueError, match="TopK has no threshold"):
        autoencoder(W, threshold=0.1, k=1)


def test_of_equal_pre_activations_top_k_keeps_the_first():
    assert codes(np.ones((3, 2)), autoencoder(np.eye(2), k=2)).tolist() == [[1, 1], [1, 1], [0, 0]]
