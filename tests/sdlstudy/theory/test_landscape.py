import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sdlcore.config import ModelConfig
from sdlcore.model.coder import SparseCoder
from sdlcore.model.losses.reconstruction import reconstruction
from sdlcore.random_streams import stream
from sdlstudy.theory.approximate_loss import Weights, approximate_loss, gradients
from sdlstudy.theory.landscape import ACTIVATIONS, best_encoder, pattern, random_problem, with_best_decoder

instances = st.tuples(st.integers(0, 10_000), st.sampled_from(ACTIVATIONS))


def drawn(instance):
    seed, activation = instance
    return random_problem(stream(seed, "instance"), activation)


def model_loss(weights, problem):
    """Eq. (11), computed by the package's own model and reconstruction loss, with its gradients."""
    activation = "topk" if problem.k is not None else "jumprelu" if problem.threshold else "relu"
    config = ModelConfig(activation=activation, n_q=len(weights.W_enc), k=problem.k)
    model = SparseCoder.from_config(config, (len(problem.W_p),), (len(problem.W_r),)).double().eval()
    with torch.no_grad():
        for parameter, values in zip((model.W_enc, model.W_dec), weights, strict=True):
            parameter.copy_(torch.from_numpy(values))
        if activation == "jumprelu":
            model.get_parameter("sigma.threshold").fill_(problem.threshold)
    x_p, x_r = (torch.from_numpy(np.ascontiguousarray(W.T)) for W in (problem.W_p, problem.W_r))
    scale = torch.from_numpy(np.sqrt(problem.n * problem.M))[:, None]
    loss = reconstruction(scale * x_r, scale * model(x_p).x_hat)
    return float(loss.detach()), torch.autograd.grad(loss, [model.W_enc, model.W_dec])


# each case builds a PyTorch model, which takes 0.04 s
@settings(max_examples=12)
@given(instances)
def test_loss_and_gradients_are_those_of_equation_11_and_of_the_packages_model(instance):
    problem, weights = drawn(instance)
    W_E, W_D, total = weights.W_enc, weights.W_dec.T, 0.0
    for d in range(problem.n):
        z = W_E @ problem.W_p[:, d]
        active = z > problem.threshold
        if problem.k is not None:
            active &= z >= np.sort(z)[-problem.k]
        total += problem.M[d] * np.linalg.norm(problem.W_r[:, d] - W_D @ np.where(active, z, 0)) ** 2
    assert approximate_loss(weights, problem) == pytest.approx(total)
    loss, slopes = model_loss(weights, problem)
    assert loss == pytest.approx(total)
    for formula, automatic in zip(gradients(weights, problem), slopes, strict=True):
        np.testing.assert_allclose(formula, automatic, atol=1e-10)


@given(instances)
def test_each_blocks_minimum_has_no_gradient(instance):
    problem, weights = drawn(instance)
    assert np.abs(gradients(with_best_decoder(weights.W_enc, problem), problem).W_dec).max() < 1e-9
    encoded = Weights(best_encoder(weights, problem), weights.W_dec)
    if (pattern(encoded.W_enc, problem) == pattern(weights.W_enc, problem)).all():
        assert np.abs(gradients(encoded, problem).W_enc).max() < 1e-7
