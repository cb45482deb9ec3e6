import pytest
import torch

from sdlcore.config import ModelConfig
from sdlcore.model.coder import SparseCoder
from sdlcore.model.encoding import Auxiliary, Scales
from sdlcore.model.saving import load_model, save_model
from sdlcore.random_streams import torch_stream
from tests.int8 import with_int8

CONFIGS = {
    "relu": ModelConfig(n_q=12, bias=True),
    "jumprelu": ModelConfig(activation="jumprelu", n_q=12, decoder_norm="unit"),
    "topk": ModelConfig(activation="topk", k=3, n_q=12, initialisation="tied"),
    "batchtopk": ModelConfig(activation="batchtopk", k=3, n_q=12),
    "gated": ModelConfig(activation="gated", n_q=12, bias=True),
    "abstopk": ModelConfig(activation="abstopk", k=3, n_q=12),
    "transcoder": ModelConfig(pair="transcoder", activation="topk", k=3, n_q=12, skip=True),
    "crosscoder": ModelConfig(pair="crosscoder", activation="topk", k=3, n_q=12),
}


def make(config, seed=0, sites=((5,), (5,))):
    return SparseCoder.from_config(config, *sites, torch_stream(seed, "initialisation"))


def dense_sigma(model, z, k=None):
    """The definitions of section 2.4, on all pre-activations."""
    k = k or model.config.k
    match model.config.activation:
        case "relu":
            return z.relu()
        case "jumprelu":
            return torch.where(z > model.sigma.threshold, z, 0.0)
        case "gated":
            scale, offset = model.sigma.log_scale.exp(), model.sigma.offset
            return torch.where(z > 0, (scale * z + offset).relu(), 0.0)
        case "abstopk":
            return torch.where(z.abs() >= z.abs().topk(k, dim=1).values[:, -1:], z, 0.0)
        case "topk":
            edge = z.topk(k, dim=1).values[:, -1:]
        case "batchtopk":
            edge = z.flatten().topk(k * len(z)).values[-1]
    return torch.where((z >= edge) & (z > 0), z, 0.0)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_pass_is_definition_2_5(name):
    model = make(CONFIGS[name], sites=((5,), (4, 3)))
    with torch.no_grad():
        for parameter in (model.b_enc, model.b_dec):
            parameter.uniform_(-1, 1)
    x = torch.randn(7, 5)
    out = model(x)
    z = x @ model.W_enc.T + model.b_enc
    latents = dense_sigma(model, z)
    assert len(out.values) == len(out.support) <= latents.numel()
    torch.testing.assert_close(out.pre, z[out.support.rows, out.support.columns])
    torch.testing.assert_close(out.latents(), latents)
    assert torch.equal(out.active(), (latents != 0).float().sum(1))
    x_hat = torch.stack([model.W_dec.T @ row + model.b_dec for row in latents])
    torch.testing.assert_close(out.x_hat, x_hat)
    torch.testing.assert_close(model.decode(model.encode(x)), x_hat)
    assert out.aux is None
    torch.testing.assert_close(out.scales, x_hat[:, None])


def test_parts_of_a_code_reconstruct_what_they_say():
    """Prefixes, multi-k and auxiliary latents in one pass, compared with a dense code that is cut by hand."""
    for scales in (Scales(multi_k=(1, 2, 3)), Scales(prefixes=(2, 5, 12))):
        for name in ("topk", "batchtopk", "abstopk"):
            model = make(CONFIGS[name])
            x = torch.randn(7, 5)
            z = x @ model.W_enc.T
            dead = torch.tensor([1, 4, 9])
            out = model(x, scales, Auxiliary(dead, 2))
            if scales.multi_k:
                parts = [dense_sigma(model, z, k) for k in scales.multi_k]
            else:
                parts = [dense_sigma(model, z) * (torch.arange(12) < size) for size in scales.prefixes]
            torch.testing.assert_close(out.scales, torch.stack([part @ model.W_dec for part in parts], 1))
            torch.testing.assert_close(out.latents(), parts[-1])
            signed = name == "abstopk"
            chosen = dead[(z.abs() if signed else z)[:, dead].topk(2).indices]
            aux = torch.zeros_like(z).scatter(1, chosen, (z if signed else z.relu()).gather(1, chosen))
            torch.testing.assert_close(out.aux, aux @ model.W_dec)
            if name == "batchtopk":
                smallest = parts[-1][parts[-1] > 0].min()
                torch.testing.assert_close(model.sigma.threshold, smallest, msg="auxiliary latents do not count")


@pytest.mark.parametrize("precision", with_int8([torch.bfloat16, torch.int8]))
@pytest.mark.parametrize("name", ["relu", "jumprelu", "topk", "batchtopk", "gated", "abstopk"])
def test_a_product_in_a_lower_type_gives_exact_values_and_hardly_other_latents(name, precision):
    config = CONFIGS[name].changed(n_q=512, k=16 if "topk" in name else None)
    model = make(config, sites=((64,), (64,)))
    x = torch.randn(100, 64)
    exact, coarse = model(x), model(x, precision=precision)
    torch.testing.assert_close(
        coarse.pre, (x @ model.W_enc.T)[coarse.support.rows, coarse.support.columns], rtol=1e-4, atol=1e-5
    )
    ours, theirs = (out.latents() != 0 for out in (exact, coarse))
    assert (ours == theirs).float().mean() > 0.998
    assert ((ours & theirs).sum() / ours.sum()).item() > 0.99


@pytest.mark.parametrize("name", CONFIGS)
def test_a_saved_model_computes_the_same(name, tmp_path):
    model = make(CONFIGS[name])
    x = torch.randn(64, 5)
    model(x)
    save_model(tmp_path / "model.safetensors", model, {"seed": 0})
    loaded = load_model(tmp_path / "model.safetensors")
    assert loaded.config == model.config
    assert not loaded.training
    ours, theirs = model.eval()(x), loaded(x)
    for field in ("pre", "values", "x_hat"):
        assert torch.equal(getattr(ours, field), getattr(theirs, field))


@pytest.mark.parametrize("initialisation", ["linear", "tied"])
def test_a_tied_model_is_one_matrix_and_its_file_has_both(initialisation, tmp_path):
    config = ModelConfig(activation="topk", n_q=12, k=3, tied=True, initialisation=initialisation)
    model = SparseCoder.from_config(config, (8,), (8,), torch_stream(0, "initialisation"))
    assert [name for name, _ in model.named_parameters()] == ["W_enc", "b_enc", "b_dec"]
    x = torch.randn(5, 8, generator=torch_stream(1, "samples"))
    save_model(tmp_path / "model.safetensors", model, {})
    loaded = load_model(tmp_path / "model.safetensors")
    assert torch.equal(loaded(x).x_hat, model(x).x_hat)
    with torch.no_grad():
        loaded.W_dec.zero_()
    assert torch.equal(loaded.W_enc, model.W_enc), "a loaded model shares no memory between its weights"


@pytest.mark.parametrize("activation", ["relu", "jumprelu", "topk", "gated"])
def test_no_samples_have_no_latents(activation):
    model = SparseCoder.from_config(
        ModelConfig(activation=activation, n_q=6, k=2 if activation == "topk" else None), (4,), (4,)
    )
    out = model.eval()(torch.zeros(0, 4))
    assert out.latents().shape == (0, 6)
    assert out.x_hat.shape == (0, 4)
