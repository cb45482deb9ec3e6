import pytest
import torch

from sdlcore.config import ModelConfig
from sdlcore.model.coder import SparseCoder
from sdlcore.model.encoding import Auxiliary
from sdlcore.model.saving import load_model, save_model
from sdlcore.random_streams import torch_stream
from tests.int8 import with_int8


def make(activation, width=5, **settings):
    config = ModelConfig(activation=activation, **settings)
    x = torch.randn(100, width, generator=torch_stream(1, "samples"))
    return SparseCoder.from_config(config, (width,), (width,), torch_stream(0, "initialisation")), x


def test_auxiliary_latents_do_not_count_in_batchtopks_threshold():
    model, x = make("batchtopk", n_q=12, k=3)
    latents = model(x, auxiliary=Auxiliary(torch.arange(12), 6)).latents()
    torch.testing.assert_close(model.sigma.threshold, latents[latents > 0].min())


@pytest.mark.parametrize("precision", with_int8([torch.bfloat16, torch.int8]))
@pytest.mark.parametrize(("activation", "k"), [("relu", None), ("topk", 16), ("abstopk", 16)])
def test_a_product_in_a_lower_type_gives_exact_values_and_hardly_other_latents(activation, k, precision):
    model, x = make(activation, 64, n_q=512, k=k)
    exact, coarse = model(x), model(x, precision=precision)
    torch.testing.assert_close(
        coarse.pre, (x @ model.W_enc.T)[coarse.support.rows, coarse.support.columns], rtol=1e-4, atol=1e-5
    )
    ours, theirs = (out.latents() != 0 for out in (exact, coarse))
    assert (ours == theirs).float().mean() > 0.998
    assert ((ours & theirs).sum() / ours.sum()).item() > 0.99


@pytest.mark.parametrize("initialisation", ["linear", "tied"])
def test_a_tied_model_is_one_matrix_and_its_file_has_both(initialisation, tmp_path):
    model, x = make("topk", n_q=12, k=3, tied=True, initialisation=initialisation)
    assert [name for name, _ in model.named_parameters()] == ["W_enc", "b_enc", "b_dec"]
    save_model(tmp_path / "model.safetensors", model, {})
    loaded = load_model(tmp_path / "model.safetensors")
    assert torch.equal(loaded(x).x_hat, model(x).x_hat)
    with torch.no_grad():
        loaded.W_dec.zero_()
    assert torch.equal(loaded.W_enc, model.W_enc), "a loaded model shares no memory between its weights"


@pytest.mark.parametrize(("activation", "k"), [("relu", None), ("jumprelu", None), ("topk", 2), ("gated", None)])
def test_no_samples_have_no_latents(activation, k):
    model, x = make(activation, n_q=6, k=k)
    out = model.eval()(x[:0])
    assert out.latents().shape == (0, 6)
    assert out.x_hat.shape == (0, 5)
