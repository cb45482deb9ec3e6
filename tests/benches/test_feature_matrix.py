import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sdlcore.benches.config import FeatureMatrixConfig
from sdlcore.benches.lrb import (
    MARGIN,
    NEGATIVE_INTERFERENCE,
    _interference_gradient,
    feature_matrix,
    leaked_start,
)
from sdlcore.config import ModelConfig
from sdlcore.evaluation.recovery import best_match, mip, normalise_rows
from sdlcore.model.coder import SparseCoder
from sdlcore.random_streams import stream, torch_stream

N, N_P, N_Q = 128, 96, 512


def interference(W):
    gram = W.astype(np.float64).T @ W.astype(np.float64)
    return gram[~np.eye(len(gram), dtype=bool)]


@settings(max_examples=25)
@given(
    seed=st.integers(0, 10_000),
    dimension=st.integers(8, 48),
    ratio=st.floats(0.2, 1.4),
    M=st.floats(0.3, 0.6),
    bound=st.sampled_from(["signed", "absolute"]),
)
def test_what_is_returned_keeps_the_bound_and_says_what_it_reached(seed, dimension, ratio, M, bound):
    n = max(2, round(ratio * dimension))
    matrix = feature_matrix(dimension, n, stream(seed), FeatureMatrixConfig(M, bound))
    assert matrix.W.shape == (dimension, n)
    assert matrix.W.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(matrix.W, axis=0), 1, atol=1e-6)
    products = interference(matrix.W)
    assert matrix.max_signed == pytest.approx(products.max(), abs=1e-6)
    assert matrix.max_absolute == pytest.approx(np.abs(products).max(), abs=1e-6)
    assert (matrix.max_signed if bound == "signed" else matrix.max_absolute) <= M


@pytest.mark.parametrize("bound", ["signed", "absolute"])
def test_the_gradient_is_that_of_equation_27(bound):
    config = FeatureMatrixConfig(0.2, bound)
    W = np.random.default_rng(0).standard_normal((5, 9))
    W /= np.linalg.norm(W, axis=0)
    w = torch.tensor(W, requires_grad=True)
    limit = config.max_interference * (1 - MARGIN)
    loss = torch.zeros((), dtype=torch.float64)
    for i in range(9):
        for j in range(9):
            if i != j:
                product = w[:, i] @ w[:, j]
                loss = loss + torch.relu(product - limit) ** 2
                if bound == "signed":
                    loss = loss + NEGATIVE_INTERFERENCE * torch.relu(product) ** 2
                else:
                    loss = loss + torch.relu(-product - limit) ** 2
    loss.backward()
    gram = W.T @ W
    np.fill_diagonal(gram, 0)
    np.testing.assert_allclose(_interference_gradient(W, gram, config), w.grad.numpy(), atol=1e-12)


@pytest.mark.parametrize(
    ("dimension", "n", "config", "message"),
    [
        (
            *(32, 60, FeatureMatrixConfig(0.01, max_iterations=50)),
            r"max_interference 0\.01 .* was not reached for 60 features in 32",
        ),
        (64, 90, FeatureMatrixConfig(0.1, learning_rate=5.0), "raise max_interference .* or lower n or learning_rate"),
    ],
)
def test_a_bound_out_of_reach_is_an_error(dimension, n, config, message):
    with pytest.raises(ValueError, match=message):
        feature_matrix(dimension, n, stream(0), config)


def start_of(initialisation: str) -> np.ndarray:
    config = ModelConfig(activation="topk", k=4, n_q=N_Q, initialisation=initialisation)
    return normalise_rows(
        SparseCoder.from_config(config, (N_P,), (N_P,), torch_stream(3, "initialisation")).W_enc.detach().numpy()
    )


def features(start: np.ndarray | None) -> np.ndarray:
    return feature_matrix(N_P, N, stream(3, "feature matrix", "W_p"), FeatureMatrixConfig(0.3), start).W.T


@pytest.mark.parametrize(("initialisation", "share"), [("tied", 0.9), ("linear", 0.3)])
def test_with_the_leak_latents_start_at_the_features(initialisation, share):
    leaked = best_match(start_of(initialisation), features(leaked_start(N_P, N, 3)))
    honest = best_match(start_of(initialisation), features(None))
    assert mip(leaked) > mip(honest) + 0.02
    assert (leaked.latent == np.arange(N)).mean() > share
    # independent initialisation does not know the features
    assert (honest.latent == np.arange(N)).mean() < 0.05
