"""LISTA's compiled step has autograd's gradients, also where the step chooses new latents."""

import pytest
import torch

from sdlcore.config import Config
from sdlcore.model.coder import SparseCoder
from sdlcore.sparse import screening
from tests.int8 import with_int8


@pytest.mark.parametrize("products", with_int8(["float32", "float64", "screened by int8"]))
def test_gradients_are_those_of_the_definition(products, monkeypatch):
    monkeypatch.setattr(screening, "LEAST", 0)
    monkeypatch.setattr(screening, "pays", lambda: products == "screened by int8")
    dtype = torch.float64 if products == "float64" else torch.float32
    generator = torch.Generator().manual_seed(0)
    config = Config.from_dict({"activation": "lista", "n_q": 300, "k": 6, "ista_step": 0.4, "bias": True})
    model = SparseCoder.from_config(config.model, (24,), (24,), generator).to(dtype)
    with torch.no_grad():
        model.sigma.log_step.copy_(0.3 * torch.randn(300, generator=generator))
        model.W_dec.copy_(0.3 * torch.randn(300, 24, generator=generator))
        model.b_enc.copy_(0.1 * torch.randn(300, generator=generator))
    x, target = torch.randn(2, 40, 24, generator=generator, dtype=dtype)
    x = x.clone().requires_grad_()
    inputs = [x, *model.parameters()]
    out = model(x)
    actual = torch.autograd.grad((out.x_hat - target).square().sum(), inputs)
    latents = model.sigma.encode(x, model.weights)
    expected = torch.autograd.grad((model.decode(latents) - target).square().sum(), inputs)
    first = model.sigma._top_k(x @ model.W_enc.T + model.b_enc) > 0
    assert (first & (latents > 0)).any()
    assert (~first & (latents > 0)).any()
    torch.testing.assert_close(out.latents(), latents)
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4 * float(other.abs().max()))
