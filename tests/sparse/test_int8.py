"""Wrong int8 products of a processor are detected before they are used."""

import pytest
import torch

import sdlcore as sdl
from sdlcore.sparse import screening
from sdlcore.sparse.kernels import int8
from sdlcore.sparse.preactivations import Preactivations
from tests.int8 import in_16_bits, needs_int8


def by_integers(samples, latents, out):
    out.copy_(samples.long() @ latents.long().T)


def of_whole_fours(samples, latents, out):
    n = samples.shape[1] // 4 * 4
    by_integers(samples[:, :n], latents[:, :n], out)


@pytest.fixture
def wrong_processor(monkeypatch):
    """A processor that reports int8 instructions, but whose products overflow."""
    monkeypatch.setattr(int8, "multiply", in_16_bits)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_vnni": True})
    monkeypatch.setattr(screening, "LEAST", 0)
    remembering = int8.is_exact  # tests replace it
    remembering.cache_clear()
    yield monkeypatch
    remembering.cache_clear()


@pytest.mark.parametrize(("product", "right"), [(by_integers, True), (in_16_bits, False), (of_whole_fours, False)])
def test_small_products_are_compared_with_integers(product, right):
    assert int8.agrees_with_integers(product) == right


@needs_int8
def test_searches_are_exact_in_shapes_that_were_not_tried(monkeypatch):
    """A processor that passes the test computes larger products correctly, too."""
    monkeypatch.setattr(int8, "multiply", by_integers)
    x, W = torch.randn(37, 131), torch.randn(2100, 131)
    searched = [Preactivations(x, W, torch.zeros(2100), torch.int8).largest(5)]
    monkeypatch.undo()
    searched.append(Preactivations(x, W, torch.zeros(2100), torch.int8).largest(5))
    assert torch.equal(searched[0].pre, searched[1].pre)
    assert torch.equal(searched[0].support.columns, searched[1].support.columns)


def test_where_they_are_wrong_nothing_is_screened(wrong_processor):
    generator = torch.Generator().manual_seed(0)
    x, W, b = torch.randn(64, 64, generator=generator), torch.randn(800, 64, generator=generator), torch.zeros(800)
    expected = (x @ W.T).topk(8, dim=1).indices.sort(dim=1).values.flatten()
    assert screening.pays()
    for screened in (None, True):
        pre = Preactivations(x, W, b, screened=screened)
        assert not pre.screened
        assert torch.equal(pre.largest(8).support.columns.long(), expected)
    # if they were used, latents would be missed
    wrong_processor.setattr(int8, "is_exact", lambda: True)
    assert not torch.equal(Preactivations(x, W, b, screened=True).largest(8).support.columns.long(), expected)


def test_where_they_are_wrong_a_training_in_int8_is_refused(wrong_processor):
    with pytest.raises(ValueError, match="products of int8 are wrong on this processor; set precision float32"):
        sdl.fit(torch.randn(64, 8).numpy(), activation="topk", k=2, n_q=16, steps=1, batch_size=32, precision="int8")
