"""Matching the latents of several dictionaries by cosines."""

import numpy as np
import pytest
import torch

import sdlcore as sdl
from sdlcore.config import ModelConfig
from sdlcore.model.coder import SparseCoder
from sdlcore.random_streams import torch_stream

D, Q = 12, 20


def coder(seed, n_q=Q, d=D):
    return SparseCoder.from_config(ModelConfig("sae", "topk", n_q, 3), (d,), (d,), torch_stream(seed, "x")).eval()


def test_a_permuted_dictionary_shares_all_latents_and_another_few():
    one, permuted, other = coder(0), coder(0), coder(1)
    order = torch.randperm(Q, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for W in {one.W_enc: permuted.W_enc, one.W_dec: permuted.W_dec}.items():
            W[1].copy_(2 * W[0][order])  # lengths do not count
    same, first, second = sdl.stability([one, permuted, other])
    assert (same.first, same.second) == (0, 1)
    np.testing.assert_allclose(same.decoder, 1, atol=1e-6)  # unit rows of 12 float32 numbers: errors of some 2^-24 each
    np.testing.assert_allclose(same.encoder, 1, atol=1e-6)
    assert same.shared("decoder", 0.9) == 1
    assert first.shared("decoder", 0.9) < 0.5
    assert sorted(first.decoder) == pytest.approx(sorted(second.decoder), abs=1e-6)


def test_a_rotated_latent_has_the_cosine_of_its_angle():
    one, moved = coder(0), coder(0)
    with torch.no_grad():
        W = torch.nn.functional.normalize(torch.eye(D))
        for each in (one, moved):
            each.W_dec.zero_()[:D].copy_(W)
        moved.W_dec[3].copy_(0.8 * W[3] + 0.6 * W[4])
    (comparison,) = sdl.stability({"a": one, "b": moved})
    assert comparison.decoder[3] == pytest.approx(0.8)
    assert comparison.shared("decoder", 0.9) == (D - 1) / Q  # those without a direction are shared with none
    assert comparison.shared("decoder", 0.7) == D / Q
    table = sdl.stability({"a": one, "b": moved}).to_frame()
    assert table.loc[0, ["first", "second", "decoder_0.7"]].tolist() == ["a", "b", D / Q]
    assert "decoder_0.9" in repr(sdl.stability({"a": one, "b": moved}))


def test_widths_of_dictionaries_may_differ():
    (comparison,) = sdl.stability([coder(0), coder(0, n_q=9)])
    assert len(comparison.decoder) == 9


def with_nan(model):
    model.W_dec.data[3, 3] = float("nan")
    return model


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: [coder(0), with_nan(coder(1))], r"dictionary 1: W_dec\[3, 3\] is nan; train it again"),
        (lambda: [coder(0), coder(0, d=8)], "dictionaries have 12 and 8 dimensions, expected the same"),
        (lambda: [coder(0)], "found 1 dictionaries, expected two or more"),
    ],
)
def test_what_cannot_be_compared_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        sdl.stability(make())
