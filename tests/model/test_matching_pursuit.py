"""The compiled steps of matching pursuit choose what torch's operators choose."""

import copy

import pytest
import torch

from sdlcore.config import ModelConfig
from sdlcore.model.activations import matching_pursuit
from sdlcore.model.activations.matching_pursuit import Gram, _Amounts, pursue
from sdlcore.model.coder import SparseCoder
from sdlcore.model.scaling import Scaling
from sdlcore.sparse.kernels.numba_kernels import NumbaKernels


def problem(n_q, B, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.nn.functional.normalize(torch.randn(n_q, 16, generator=generator, dtype=dtype))
    return torch.randn(B, 16, generator=generator, dtype=dtype), rows


# several blocks of products, and several groups of samples
@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.float64, marks=pytest.mark.slow)])
def test_compiled_steps_are_those_of_torch(dtype, monkeypatch):
    monkeypatch.setattr(matching_pursuit, "AT_ONCE", 7 * 2100)
    x, rows = problem(2100, 400, dtype=dtype)
    x[3] = 0.0
    x[5, 0], x[6, 1] = torch.nan, torch.inf
    x[7] = 2 * rows[2099]  # one step leaves rounding errors alone
    chosen, amounts = pursue(x, rows, rows, 6, NumbaKernels())
    expected, expected_amounts = pursue(x, rows, rows, 6)
    # a step subtracts the same product, which only one of them may round first: less than an eps of a sample's norm
    largest = x[8:].norm(dim=1).max()
    torch.testing.assert_close(amounts, expected_amounts, rtol=0, atol=6 * torch.finfo(dtype).eps * float(largest))
    positive = expected_amounts > 0
    assert torch.equal(chosen[positive], expected[positive])
    assert positive.sum(1)[[3, 5, 6, 7]].tolist() == [0, 0, 0, 1]
    assert amounts[7, 0] == pytest.approx(2.0)


@pytest.mark.parametrize("tied", [True, False])
def test_compiled_gradients_are_those_of_torch(tied):
    generator = torch.Generator().manual_seed(1)
    # more numbers than a piece of a row has, and few rows, so that samples choose some of them twice
    x, rows = (torch.randn(n, 70, generator=generator, dtype=torch.float64) for n in (30, 9))
    rows = torch.nn.functional.normalize(rows)
    x[3] = 2 * rows[4]  # one step leaves nothing to later steps
    chosen, amounts = pursue(x, rows, rows, 12)
    slopes = torch.randn(amounts.shape, generator=generator, dtype=torch.float64)
    gradients = []
    for compiled in (NumbaKernels(), None):
        residual, W_enc = x.clone().requires_grad_(), rows.clone().requires_grad_()
        W_dec = W_enc if tied else (1.5 * rows).requires_grad_()
        _Amounts.apply(residual, W_enc, W_dec, chosen, amounts, compiled).backward(slopes)
        gradients.append([residual.grad, W_enc.grad, W_dec.grad])
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("exponent", [-20, 20])
@pytest.mark.parametrize("B", [3, 400])  # without and with the products of all latents
def test_latents_do_not_depend_on_the_unit_that_normalisation_folds_into_the_weights(exponent, B):
    x, rows = problem(60, B)
    x[0] = 2 * rows[7]  # one step leaves rounding errors alone
    config = ModelConfig(activation="matching_pursuit", n_q=60, k=6, tied=True, decoder_norm="unit", bias=True)
    coder = SparseCoder.from_config(config, (16,), (16,)).eval()
    coder.load_state_dict(dict.fromkeys(("W_enc", "W_dec"), rows), strict=False)
    expected = coder.encode(x)
    # a power of two, so that numbers are rounded alike
    mean, scale = torch.zeros(16), torch.full((16,), 2.0**-exponent)
    Scaling(mean, scale, mean, scale, torch.ones(())).fold(coder)
    with torch.no_grad():
        for latents in (coder.encode(2.0**exponent * x), coder.sigma.encode(2.0**exponent * x, coder.weights)):
            # the definition rounds a residual in another order
            torch.testing.assert_close(latents, expected, rtol=0, atol=1e-5)
    assert torch.equal(coder.encode(2.0**exponent * x), expected)
    assert (expected[0] > 0).sum() == 1


def test_more_products_than_memory_has_give_the_same_steps(monkeypatch):
    x, rows = problem(90, 40)
    expected = pursue(x, rows, rows, 5)
    monkeypatch.setattr(matching_pursuit, "MOST", 89)
    monkeypatch.setattr(matching_pursuit, "gram", None)
    chosen, amounts = pursue(x, rows, rows, 5, NumbaKernels())
    assert torch.equal(chosen, expected[0])
    torch.testing.assert_close(amounts, expected[1], rtol=1e-5, atol=1e-6)


def test_inner_products_are_cached_until_the_rows_change(monkeypatch):
    _, rows = problem(30, 1)
    inner = Gram()
    first = inner(rows, compiled=True)
    assert inner(rows.clone(), compiled=True) is first
    assert copy.deepcopy(inner)(rows, compiled=True) is not first
    rows.data[3] *= 2  # which no version counter of torch shows
    torch.testing.assert_close(inner(rows, compiled=True), rows @ rows.T)
    monkeypatch.setattr(matching_pursuit, "KEPT", 29)
    other = 3 * rows
    assert inner(other, compiled=True) is not inner(other, compiled=True)
