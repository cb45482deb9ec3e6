"""A dictionary that is written in another library's format and read again is unchanged."""

import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sdlcore.interop.export import export, refusal
from sdlcore.interop.formats import READ
from sdlcore.interop.load import load
from tests.interop.models import KINDS, agreement, model_of, samples

PAIRS = [(kind, name) for kind in KINDS for name in READ if refusal(model_of(kind), name) is None]


@torch.no_grad()
def both(model, other, x):
    return agreement((model(x).latents(), model(x).x_hat), (other(x).latents(), other(x).x_hat))


@pytest.mark.parametrize("given_format", [True, False])
@pytest.mark.parametrize(("kind", "name"), PAIRS)
def test_every_kind_comes_back_with_its_active_sets_and_outputs(kind, name, given_format, tmp_path):
    model, x = model_of(kind), samples(kind)
    folder = export(model, name, tmp_path / "out")
    same, error = both(model, load(folder, name if given_format else None), x)
    assert same == len(x)
    assert error < 1e-5
    # the comparison was not empty
    active = (model(x).latents() > 0).sum(1)
    assert 1 < float(active.float().mean()) < model.config.n_q


@settings(max_examples=25)
@given(st.sampled_from(PAIRS), st.integers(0, 2**20), st.integers(1, 60))
def test_any_weights_and_numbers_of_latents_come_back(pair, seed, n_q):
    kind, name = pair
    model, x = model_of(kind, seed, n_q), samples(kind, 50, seed)
    with tempfile.TemporaryDirectory() as folder:
        same, error = both(model, load(export(model, name, Path(folder) / "out")), x)
    assert same >= 49  # rounding of float32 decides at a threshold
    assert error < 1e-5 or same == 49


@pytest.mark.parametrize("name", READ)
def test_weights_are_copies_and_the_dictionary_stays_as_it_was(name, tmp_path):
    model = model_of("tied topk")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    export(model, name, tmp_path / "out")
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert model.W_dec is model.W_enc
