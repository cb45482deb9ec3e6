import numpy as np
import pytest
import torch

from sdlcore.config import ModelConfig
from sdlcore.data.arrays import Arrays
from sdlcore.data.pairs import make_pair, pair_sites
from sdlcore.model.coder import SparseCoder
from sdlcore.model.scaling import no_scaling
from sdlcore.random_streams import torch_stream
from sdlcore.training.initialise import start_from_data, start_from_model, start_from_samples


def fresh(**settings):
    return SparseCoder.from_config(ModelConfig(n_q=400, **settings), (12,), (12,), torch_stream(0, "initialisation"))


@pytest.mark.parametrize("scale", [1e-3, 1.0, 50.0])
@pytest.mark.parametrize("activation", ["relu", "jumprelu", "gated"])
def test_training_starts_at_init_l0_at_any_scale(activation, scale):
    model = fresh(activation=activation, init_l0=20, bandwidth=0.4, bias=True)
    x = scale * torch.randn(500, 12, generator=torch_stream(1, "x"))
    start_from_data(model, x)
    assert model(x).active().mean().item() == pytest.approx(20, rel=0.01)
    if activation == "jumprelu":
        assert (model.sigma.threshold == model.sigma.start).all()
        assert model.sigma.bandwidth.item() == pytest.approx(0.4 * model.sigma.start.item())


def test_an_l0_that_cannot_be_had_is_refused():
    model = fresh(activation="jumprelu", init_l0=399)
    x = torch.randn(500, 12)
    with pytest.raises(ValueError, match="init_l0 = 399 is more than the mean number of positive"):
        start_from_data(model, x)


def test_a_model_starts_from_the_latents_of_another():
    start = SparseCoder.from_config(
        ModelConfig(n_q=30, bias=True, activation="jumprelu"), (12,), (12,), torch_stream(1, "found")
    )
    model, drawn = fresh(activation="topk", k=4), fresh(activation="topk", k=4)
    start_from_model(model, start, no_scaling(12, 12))
    assert torch.equal(model.W_enc[:30], start.W_enc)
    assert torch.equal(model.W_dec[:30], start.W_dec)
    assert torch.equal(model.W_enc[30:], drawn.W_enc[30:])
    assert not model.b_enc.any()


@pytest.mark.parametrize("pair", ["sae", "transcoder", "crosscoder"])
def test_rows_start_as_samples_each_of_another(pair):
    rng = np.random.default_rng(0)
    activations = Arrays(*(rng.standard_normal((500, width)).astype(np.float32) for width in (12, 9)))
    sites = pair_sites(pair, 12, 9)
    config = ModelConfig(pair, "topk", n_q=400, k=3, initialisation="samples", init_scale=0.5)
    model = SparseCoder.from_config(config, *sites, torch_stream(0, "x"))
    start_from_samples(model, activations, no_scaling(*map(sum, sites)), np.random.default_rng(1))
    x_p, x_r = make_pair(pair, activations.read("input"), activations.read("target"))
    unit_p, unit_r = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (x_p, x_r))
    nearest = (model.W_enc.detach().numpy() @ unit_p.T).argmax(1)
    assert len(set(nearest)) == 400
    np.testing.assert_allclose(model.W_enc.detach().numpy(), 0.5 * unit_p[nearest], atol=1e-6)
    np.testing.assert_allclose(model.W_dec.detach().numpy(), unit_r[nearest], atol=1e-6)


def test_rows_start_as_samples_though_samples_are_fewer_and_some_are_zero():
    x = np.zeros((90, 12), dtype=np.float32)
    x[:60] = np.random.default_rng(0).standard_normal((60, 12))
    model = fresh(activation="topk", k=3, initialisation="samples", init_scale=1.0)
    start_from_samples(model, Arrays(x), no_scaling(12, 12), np.random.default_rng(1))
    assert torch.allclose(model.W_dec.norm(dim=1), torch.ones(400), atol=1e-5)
    cosines = model.W_dec.detach().numpy() @ x[:60].T / np.linalg.norm(x[:60], axis=1)
    assert 0.5 < (cosines.max(1) > 0.999).mean() < 0.9
