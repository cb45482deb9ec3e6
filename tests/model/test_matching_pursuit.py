"""The compiled steps of matching pursuit choose what torch's operators choose."""

import copy

import pytest
import torch

from sdlcore.model.activations import matching_pursuit
from sdlcore.model.activations.matching_pursuit import Gram, gram, pursue


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
    chosen, amounts = pursue(x, rows, rows, 6, compiled=True)
    expected, expected_amounts = pursue(x, rows, rows, 6)
    # a step subtracts the same product, which only one of them may round first: less than an eps of a sample's norm
    largest = x[8:].norm(dim=1).max()
    torch.testing.assert_close(amounts, expected_amounts, rtol=0, atol=6 * torch.finfo(dtype).eps * float(largest))
    positive = expected_amounts > 0
    assert torch.equal(chosen[positive], expected[positive])
    assert positive.sum(1)[[3, 5, 6, 7]].tolist() == [0, 0, 0, 1]
    assert amounts[7, 0] == pytest.approx(2.0)


def test_more_products_than_memory_has_give_the_same_steps(monkeypatch):
    x, rows = problem(90, 40)
    expected = pursue(x, rows, rows, 5)
    monkeypatch.setattr(matching_pursuit, "MOST", 89)
    monkeypatch.setattr(matching_pursuit, "gram", None)
    chosen, amounts = pursue(x, rows, rows, 5, compiled=True)
    assert torch.equal(chosen, expected[0])
    torch.testing.assert_close(amounts, expected[1], rtol=1e-5, atol=1e-6)


def test_half_of_a_symmetric_product_is_mirrored(monkeypatch):
    monkeypatch.setattr(matching_pursuit, "BLOCK", 50)
    _, rows = problem(170, 1)
    torch.testing.assert_close(gram(rows, rows, compiled=True), rows @ rows.T)
    other = 2 * rows
    torch.testing.assert_close(gram(other, rows, compiled=True), other @ rows.T)


def test_inner_products_are_kept_until_the_rows_change(monkeypatch):
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
