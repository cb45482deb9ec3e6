import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from sdlcore.bench.feature_matrix import FeatureMatrixConfig, feature_matrix
from sdlcore.evaluation.recovery import best_match, chance_mip, mip, normalise_rows
from sdlcore.model import SparseCoder, load_model, save_model
from sdlcore.run import ModelConfig
from sdlcore.streams import stream, torch_stream

CONFIGS = {
    "relu": ModelConfig(n_q=12, bias=True),
    "jumprelu": ModelConfig(activation="jumprelu", n_q=12, decoder_norm="unit"),
    "topk": ModelConfig(activation="topk", k=3, n_q=12, initialisation="tied"),
    "batchtopk": ModelConfig(activation="batchtopk", k=3, n_q=12),
    "crosscoder": ModelConfig(pair="crosscoder", activation="topk", k=3, n_q=12),
}


def make(config, seed=0, sites=((5,), (5,))):
    return SparseCoder(config, *sites, torch_stream(seed, "initialisation"))


@pytest.mark.parametrize("name", CONFIGS)
def test_a_pass_is_definition_2_5(name):
    model = make(CONFIGS[name], sites=((5,), (4, 3)))
    with torch.no_grad():
        for parameter in (model.b_enc, model.b_dec):
            parameter.uniform_(-1, 1)
    x = torch.randn(7, 5)
    out = model(x)
    W_E, W_D = model.W_enc, model.W_dec.T
    torch.testing.assert_close(out.pre, torch.stack([W_E @ row + model.b_enc for row in x]))
    torch.testing.assert_close(out.latents, model.sigma(out.pre))
    torch.testing.assert_close(out.x_hat, torch.stack([W_D @ row + model.b_dec for row in out.latents]))
    torch.testing.assert_close(model.decode(model.encode(x)), out.x_hat)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_saved_model_computes_the_same(name, tmp_path):
    model = make(CONFIGS[name])
    x = torch.randn(64, 5)
    model(x)
    save_model(tmp_path / "model.safetensors", model, {"seed": 0})
    loaded = load_model(tmp_path / "model.safetensors")
    assert loaded.config == model.config
    assert not loaded.training
    for ours, theirs in zip(model.eval()(x), loaded(x), strict=True):
        assert torch.equal(ours, theirs)


def test_biases_are_trained_only_where_asked_for():
    assert make(CONFIGS["relu"]).b_enc.requires_grad
    assert not make(CONFIGS["topk"]).b_enc.requires_grad
    assert not make(CONFIGS["topk"]).b_dec.requires_grad


def test_constrain_puts_parameters_back():
    model = make(CONFIGS["jumprelu"])
    with torch.no_grad():
        model.W_dec.mul_(3)
        model.sigma.threshold.fill_(-1)
    model.constrain()
    torch.testing.assert_close(model.W_dec.norm(dim=1), torch.ones(12))
    assert (model.sigma.threshold == 0).all()


def test_damaged_and_foreign_files_are_named(tmp_path):
    path = tmp_path / "model.safetensors"
    save_model(path, make(CONFIGS["topk"]), {})
    content = path.read_bytes()
    path.write_bytes(content[:-10])
    with pytest.raises(ValueError, match=r"model\.safetensors: not a readable safetensors file"):
        load_model(path)
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match=r"model\.safetensors: .* not one of sdlcore's models"):
        load_model(path)
    with pytest.raises(ValueError, match="absent"):
        load_model(tmp_path / "absent")


@pytest.mark.parametrize("initialisation", ["linear", "tied"])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_fresh_model_does_not_know_the_ground_truth(initialisation, seed):
    """The leak that equal generator states make: the first latents start at the true features."""
    n, dimension, n_q = 200, 150, 3200
    true = feature_matrix(dimension, n, stream(seed, "feature matrix", "W_p"), FeatureMatrixConfig(0.2)).W.T
    config = ModelConfig(activation="topk", k=8, n_q=n_q, initialisation=initialisation)
    model = make(config, seed, ((dimension,), (dimension,)))
    for weights in (model.W_enc, model.W_dec):
        match = best_match(normalise_rows(weights.detach().numpy()), true)
        assert mip(match) == pytest.approx(chance_mip(n_q, dimension), abs=0.005)
        assert (match.latent == np.arange(n)).mean() < 0.01


def test_the_leak_test_would_see_a_leak():
    n, dimension, n_q = 200, 150, 3200
    leaked = np.random.default_rng(0).standard_normal((n_q, dimension))
    true = normalise_rows(np.random.default_rng(0).standard_normal((n, dimension)))
    match = best_match(normalise_rows(leaked), true)
    assert mip(match) > chance_mip(n_q, dimension) + 0.5
    assert (match.latent == np.arange(n)).mean() > 0.99
