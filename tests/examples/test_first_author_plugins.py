"""The first author's settings as plugins: what each computes, and that a run of all of them is the recipe's."""

from importlib import import_module

import numpy as np
import pytest
import torch

import sdlcore as sdl
from examples.first_author.recipe import Recipe, Training
from sdlcore.losses.total import total_loss
from sdlcore.model.coder import SparseCoder
from sdlcore.random_streams import torch_stream
from sdlcore.run import LossConfig, ModelConfig

N_P, N_Q, K, B = 6, 20, 4, 5


@pytest.fixture(autouse=True)
def linear_start(registry):
    """Import the plugins, and forget them afterwards."""
    return import_module("examples.first_author.plugins").linear_start


def coder(**settings) -> tuple[SparseCoder, torch.Tensor, torch.Tensor]:
    """Return a model, samples and their pre-activations."""
    generator = torch_stream(0, "test")
    model = SparseCoder(ModelConfig.from_dict({"n_q": N_Q, **settings}), (N_P,), (N_P,), generator)
    x = 3 * torch.randn(B, N_P, generator=generator)
    return model.eval(), x, (x @ model.W_enc.T).detach()


def test_the_fixed_jump_adds_a_constant_and_drops_no_small_latent():
    model, x, z = coder(activation="fixed_jump", beta=0.5, gamma=0.3)
    expected = z.clamp(min=0) + 0.5 * (z > 0.3)
    assert ((z > 0) & (z < 0.3)).any()
    torch.testing.assert_close(model.encode(x).detach(), expected)


def test_topk_of_a_jump_keeps_the_largest_values_after_it():
    model, x, z = coder(activation="topk_of_jump", k=K, beta=0.5, gamma=0.3)
    values = z.clamp(min=0) + 0.5 * (z > 0.3)
    expected = torch.zeros_like(values).scatter(1, values.topk(K).indices, values.topk(K).values)
    torch.testing.assert_close(model.encode(x).detach(), expected)


@pytest.mark.parametrize("silent", [0, 7])
def test_silent_latents_take_no_part_in_the_competition(silent):
    model, x, z = coder(activation="topk_of_jump", k=K, beta=0.0, silent=silent)
    z[:, :silent] = 0
    expected = torch.zeros_like(z).scatter(1, z.topk(K).indices, z.topk(K).values).clamp(min=0)
    torch.testing.assert_close(model.encode(x).detach(), expected)


def test_the_mean_counts_latents_that_are_not_active():
    model, x, _ = coder(activation="topk_of_jump", k=K)
    out = model(x)
    terms = total_loss(model, x, out, LossConfig.from_dict({"mean_l1": 2.0, "loss_scale": "mean"}))
    torch.testing.assert_close(terms["mean_l1"], out.latents().mean())
    torch.testing.assert_close(terms["loss"], (out.x_hat - x).square().mean() + 2 * out.latents().mean())


def test_a_start_has_the_biases_of_linear_layers(linear_start):
    start = linear_start(N_P, N_P, 500)
    assert 0.9 / N_P**0.5 < start.coder.b_enc.abs().max() <= 1 / N_P**0.5
    settings = {"activation": "topk", "k": 500, "bias": True, "steps": 1, "batch_size": 2, "lr": 1e-9}
    settings |= {"normalise": False}
    x = np.eye(N_P, dtype=np.float32)
    with pytest.warns(UserWarning, match="fvu is"):  # one step explains nothing
        sae = sdl.fit(x, start=start, n_q=500, progress=False, **settings)
    torch.testing.assert_close(sae.coder.b_enc, start.coder.b_enc)


@pytest.mark.slow
def test_a_run_with_all_plugins_is_that_of_the_recipe(linear_start):
    sizes = {"n": 24, "n_p": 16, "n_q": 96, "samples": 480, "max_interference": 0.6}
    training = Training(Recipe(lr=1e-3, batch=480, k=3, gamma=0.2, **sizes))
    training.b_dec.zero_()
    begun = linear_start(16, 16, 96)
    with torch.no_grad():
        for mine, others in zip(("W_enc", "b_enc", "W_dec"), training.weights[:3], strict=True):
            getattr(begun.coder, mine).copy_(others)
    for _ in range(10):
        training.take_step()
    training.settle()
    settings = {"activation": "topk_of_jump", "k": 3, "gamma": 0.2, "mean_l1": 0.01, "loss_scale": "mean", "bias": True}
    settings |= {"batch_size": 480, "lr": 1e-3, "lr_warmup": 0, "lr_decay": 0, "weight_decay": 1e-5, "steps": 10}
    sae = sdl.fit(training.x, start=begun, n_q=96, progress=False, **settings)
    for name, expected in zip(("W_enc", "b_enc", "W_dec", "b_dec"), training.weights, strict=True):
        # ten steps of at most lr each, in float32
        torch.testing.assert_close(getattr(sae.coder, name).detach(), expected, rtol=0, atol=1e-3 * 1e-2)
