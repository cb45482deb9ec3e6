import copy

import numpy as np
import pytest
import torch

from sdlcore.config import ModelConfig
from sdlcore.data.arrays import Arrays
from sdlcore.data.pairs import make_pair, pair_sites
from sdlcore.data.reading import ActivationStore
from sdlcore.model.coder import SparseCoder
from sdlcore.model.scaling import Scaling, directions
from sdlcore.random_streams import torch_stream
from sdlcore.training import normalisation
from sdlcore.training.normalisation import fit_normalisation, fit_whitening
from tests.stores import write_store

RNG = np.random.default_rng(0)
INPUT = RNG.standard_normal((700, 8)) * 30 + RNG.standard_normal(8) * 100
TARGET = RNG.standard_normal((700, 5)) * 0.01 + 3


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("normalisation") / "store.h5"
    write_store(path, INPUT, target=TARGET)
    with ActivationStore(path) as store:
        yield store


@pytest.mark.parametrize("pair", ["sae", "transcoder", "crosscoder"])
@pytest.mark.parametrize("rows_at_once", [64, 10_000])
def test_every_site_gets_zero_mean_and_a_mean_norm_of_sqrt_d(store, pair, rows_at_once, monkeypatch):
    monkeypatch.setattr(normalisation, "ROWS_AT_ONCE", rows_at_once)
    x_p, x_r = (torch.from_numpy(x.astype(np.float32)) for x in make_pair(pair, INPUT, TARGET))
    ours = fit_normalisation(store, pair)(x_p, x_r)
    for x, widths in zip(ours, pair_sites(pair, 8, 5), strict=True):
        for site in x.split(list(widths), dim=1):
            torch.testing.assert_close(site.mean(0), torch.zeros(site.shape[1]), atol=1e-3, rtol=0)
            assert site.norm(dim=1).mean().item() == pytest.approx(site.shape[1] ** 0.5, rel=1e-4)


@pytest.mark.parametrize("pair", ["sae", "transcoder", "crosscoder"])
@pytest.mark.parametrize("rows_at_once", [64, 10_000])
def test_whitened_activations_have_zero_mean_and_unit_covariance(store, pair, rows_at_once, monkeypatch):
    monkeypatch.setattr(normalisation, "ROWS_AT_ONCE", rows_at_once)
    x_p, x_r = (torch.from_numpy(x.astype(np.float32)) for x in make_pair(pair, INPUT, TARGET))
    for x in fit_whitening(store, pair)(x_p, x_r):
        torch.testing.assert_close(x.mean(0), torch.zeros(x.shape[1]), atol=2e-3, rtol=0)
        for site in (x,) if x.shape[1] < 13 else (x[:, :8], x[:, 8:]):
            torch.testing.assert_close(torch.cov(site.T, correction=0), torch.eye(site.shape[1]), atol=5e-3, rtol=0)


@pytest.mark.parametrize("fit", [fit_normalisation, fit_whitening])
@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_what_is_trained_on_does_not_hang_on_the_unit(fit, scale):
    x = torch.from_numpy(INPUT.astype(np.float32))
    expected, _ = fit(Arrays(INPUT.astype(np.float32)), "sae")(x, x)
    scaled, _ = fit(Arrays((scale * INPUT).astype(np.float32)), "sae")(scale * x, scale * x)
    torch.testing.assert_close(scaled, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6])
def test_activations_that_are_all_the_same_become_zeros(value):
    x = np.full((50, 3), value, dtype=np.float32)
    whitened, _ = fit_whitening(Arrays(x), "sae")(torch.from_numpy(x), torch.from_numpy(x))
    assert whitened.abs().max() < 1


@pytest.mark.parametrize("fit", [fit_normalisation, fit_whitening])
@pytest.mark.parametrize("pair", ["sae", "transcoder", "crosscoder"])
def test_the_folded_model_does_to_raw_what_the_trained_one_does_to_normalised(store, pair, fit):
    sites = pair_sites(pair, 8, 5)
    config = ModelConfig(pair, "topk", 20, 4, bias=True, skip=pair == "transcoder" and fit is not fit_whitening)
    model = SparseCoder.from_config(config, *sites, torch_stream(0, "x")).double()
    if config.skip:
        torch.nn.init.normal_(model.W_skip)
    normalisation = fit(store, pair)
    scaling = Scaling(*(value.double() for value in normalisation if value is not None))
    scaling = scaling._replace(latent_scale=torch.tensor(3.0, dtype=torch.float64))
    x_p, x_r = (torch.from_numpy(x) for x in make_pair(pair, INPUT, TARGET))
    normalised, weights = model(scaling(x_p, x_r)[0]), copy.deepcopy(model.state_dict())
    scaling.fold(model)
    raw = model(x_p)
    # Sigma^1/2 and Sigma^-1/2 are stored in float32
    torch.testing.assert_close(3 * raw.latents(), normalised.latents(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(scaling(x_p, raw.x_hat)[1], normalised.x_hat, rtol=1e-4, atol=1e-4)
    if scaling.root_p is None:
        scaling.unfold(model)
        # some roundings of float64 in numbers of size one
        torch.testing.assert_close(model.state_dict(), weights, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("fit", [fit_normalisation, fit_whitening])
@pytest.mark.parametrize("pair", ["sae", "transcoder", "crosscoder"])
def test_rows_along_normalised_directions_fold_into_rows_along_the_raw_ones(store, pair, fit):
    sites = pair_sites(pair, 8, 5)
    model = SparseCoder.from_config(ModelConfig(pair, "topk", 6, 2), *sites)
    w_p, w_r = (torch.nn.functional.normalize(torch.randn(6, sum(widths))) for widths in sites)
    scaling = fit(store, pair)
    with torch.no_grad():
        for weights, direction in zip((model.W_enc, model.W_dec), directions(scaling, w_p, w_r), strict=True):
            torch.testing.assert_close(direction.norm(dim=1), torch.ones(6))
            weights.copy_(direction)
    scaling.fold(model)
    for weights, raw in ((model.W_enc, w_p), (model.W_dec, w_r)):
        torch.testing.assert_close(torch.nn.functional.normalize(weights), raw)


@pytest.mark.parametrize("fit", [fit_normalisation, fit_whitening])
def test_tied_weights_come_apart_where_raw_activations_need_it(store, fit):
    """A saved model computes the same as the trained one, and is loaded unchanged although its settings say tied."""
    config = ModelConfig("sae", "topk", 20, 4, tied=True)
    model = SparseCoder.from_config(config, (8,), (8,), torch_stream(0, "x"))
    x_p, x_r = (torch.from_numpy(x.astype(np.float32)) for x in make_pair("sae", INPUT, TARGET))
    scaling = fit(store, "sae")
    latents = model.encode(scaling(x_p, x_r)[0])
    assert model.W_dec is model.W_enc
    scaling.fold(model)
    torch.testing.assert_close(model.encode(x_p), latents, rtol=1e-3, atol=1e-3)
    assert not torch.equal(model.W_dec, model.W_enc)


@pytest.mark.parametrize("fit", [fit_normalisation, fit_whitening])
@pytest.mark.parametrize("pair", ["sae", "transcoder", "crosscoder"])
def test_raw_rows_are_those_of_the_folded_model(store, pair, fit):
    model = SparseCoder.from_config(ModelConfig(pair, "topk", 20, 4), *pair_sites(pair, 8, 5), torch_stream(0, "x"))
    scaling = fit(store, pair)
    rows = scaling.raw_rows(model)
    scaling.fold(model)
    torch.testing.assert_close(rows, {"encoder": model.W_enc.data, "decoder": model.W_dec.data})
