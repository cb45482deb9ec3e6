"""Matching the latents of several dictionaries by cosines."""

from pathlib import Path

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
    stability = sdl.stability([one, permuted, other])
    # unit rows of 12 float32 numbers: errors of some 2^-24 each
    np.testing.assert_allclose(stability[0, 1]["decoder"], 1, atol=1e-6)
    np.testing.assert_allclose(stability[0, 1]["encoder"], 1, atol=1e-6)
    same, first, second = stability.rows()
    assert same["decoder_0.9"] == 1
    assert first["decoder_0.9"] < 0.5
    assert sorted(stability[0, 2]["decoder"]) == pytest.approx(sorted(stability[1, 2]["decoder"]), abs=1e-6)
    assert first["decoder_mean"] == pytest.approx(second["decoder_mean"])


def test_a_rotated_latent_has_the_cosine_of_its_angle():
    one, moved = coder(0), coder(0)
    with torch.no_grad():
        W = torch.nn.functional.normalize(torch.eye(D))
        for each in (one, moved):
            each.W_dec.zero_()[:D].copy_(W)
        moved.W_dec[3].copy_(0.8 * W[3] + 0.6 * W[4])
    stability = sdl.stability({"a": one, "b": moved})
    assert stability["a", "b"]["decoder"][3] == pytest.approx(0.8)
    table = stability.to_frame()
    # those without a direction are shared with none
    row = table.loc[0, ["first", "second", "decoder_0.7", "decoder_0.9"]]
    assert row.tolist() == ["a", "b", D / Q, (D - 1) / Q]
    assert "decoder_0.9" in repr(stability)
    names = repr(sdl.stability({Path("run"): one, 123456: moved})).splitlines()[1].split()[:2]
    assert names == ["run", "123456"]


def test_widths_of_dictionaries_may_differ():
    assert len(sdl.stability([coder(0), coder(0, n_q=9)])[0, 1]["decoder"]) == 9


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
