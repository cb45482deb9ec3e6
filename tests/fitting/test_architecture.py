"""What a training takes over from its start."""

import warnings

import numpy as np
import pytest
import torch

import sdlcore as sdl
from sdlcore.commands.main import main

QUIET = {"progress": False}
MADE = {"n_q": 40, "steps": 30, "batch_size": 128, **QUIET}
NOTHING = {"steps": 1, "lr": 1e-9, "batch_size": 128, **QUIET}
"""A training that changes no weight by more than rounding."""
METHODS = {
    "topk": {"activation": "topk", "k": 4},
    "topk, normalised, unit rows": {
        **{"activation": "topk", "k": 4, "bias": True},
        **{"normalise": True, "decoder_norm": "unit"},
    },
    "topk, whitened": {"activation": "topk", "k": 4, "whiten": True},
    "topk, tied": {"activation": "topk", "k": 4, "tied": True, "normalise": True},
    "relu": {"activation": "relu", "bias": True, "l1": 0.05, "normalise": True},
    "jumprelu": {"activation": "jumprelu", "bias": True, "init_l0": 4, "l0": 0.01, "normalise": True},
    "gated": {"activation": "gated", "bias": True, "l1": 0.05},
    "lista": {"activation": "lista", "k": 4, "bias": True, "normalise": True},
}


@pytest.fixture(scope="module")
def x():
    rng = np.random.default_rng(0)
    codes = rng.random((1000, 24)) * (rng.random((1000, 24)) < 0.1)
    return (codes @ rng.standard_normal((24, 16)) + 0.2).astype(np.float32)


@pytest.fixture(autouse=True)
def no_advice():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the mean of the samples|after .* steps")
        yield


def fvu(dictionary, x):
    return sdl.evaluate(dictionary, x=x, nulls=False)["fvu"]


def losses(settings):
    return {name: value for name, value in settings.items() if name in ("l0", "l1")}


@pytest.mark.parametrize("method", METHODS)
def test_a_training_begins_at_the_fvu_of_its_start(method, x):
    settings = METHODS[method]
    start = sdl.fit(x, **settings, **MADE)
    dictionary = sdl.fit(x, start=start, **losses(settings), **NOTHING)
    assert dictionary.coder.config.changed(init_l0=None) == start.coder.config.changed(init_l0=None)
    assert dictionary.settings["normalise"] == start.settings["normalise"]
    assert fvu(dictionary, x) == pytest.approx(fvu(start, x), rel=1e-4)
    np.testing.assert_allclose(dictionary.encode(x[:50]), start.encode(x[:50]), atol=1e-3)


@pytest.mark.parametrize("method", ["topk, normalised, unit rows", "jumprelu", "topk, tied"])
def test_another_scaling_of_the_training_keeps_the_function_of_the_start(method, x):
    settings = METHODS[method]
    start = sdl.fit(x, **settings, **MADE)
    dictionary = sdl.fit(x, start=start, normalise=False, **losses(settings), **NOTHING)
    assert not dictionary.settings["normalise"]
    assert fvu(dictionary, x) == pytest.approx(fvu(start, x), rel=1e-4)


def test_a_start_in_the_format_of_saelens_keeps_its_fvu(x, tmp_path):
    start = sdl.fit(x, activation="topk", k=4, bias=True, **MADE)
    assert start.b_dec.abs().max() > 0.1
    sdl.export(start, "saelens", tmp_path, model_name="m", hook_name="h")
    dictionary = sdl.fit(x, start=tmp_path, **NOTHING)
    assert (dictionary.coder.config.activation, dictionary.coder.config.k, dictionary.n_q) == ("topk", 4, 40)
    assert fvu(dictionary, x) == pytest.approx(fvu(start, x), rel=1e-4)
    torch.testing.assert_close(dictionary.b_dec, start.b_dec, rtol=1e-4, atol=1e-5)


def test_settings_that_the_call_names_win(x):
    start = sdl.fit(x, activation="topk", k=4, **MADE)
    assert sdl.fit(x, start=start, k=8, **NOTHING).coder.config.k == 8
    assert sdl.fit(x, start=start, activation="batchtopk", **NOTHING).coder.config.k == 4
    relu = sdl.fit(x, start=start, activation="relu", l1=0.1, **NOTHING)
    assert (relu.coder.config.activation, relu.coder.config.k) == ("relu", None)
    torch.testing.assert_close(relu.W_enc, start.W_enc, rtol=0, atol=1e-6)
    wider = sdl.fit(x, start=start, n_q=50, **NOTHING)
    torch.testing.assert_close(wider.W_dec[:40], start.W_dec, rtol=0, atol=1e-6)


def test_the_linear_path_of_a_transcoder_is_copied(x):
    start = sdl.fit(x, x[:, ::-1].copy(), activation="topk", k=4, skip=True, **MADE)
    dictionary = sdl.fit(x, x[:, ::-1].copy(), start=start, **NOTHING)
    torch.testing.assert_close(dictionary.coder.W_skip, start.coder.W_skip, rtol=0, atol=1e-6)
    assert dictionary.pair == "transcoder"


RELU = {"activation": "relu", "l1": 0.1, "bias": True}
SPARSE = {"activation": "topk", "k": 4}


def alone(x):
    return (x,)


def twice(x):
    return x, x


@pytest.mark.parametrize(
    ("start", "inputs", "settings", "message"),
    [
        (RELU, alone, {"n_q": 30}, "start has 40 latents, but n_q is 30"),
        (RELU, alone, {"init_l0": 4}, "init_l0 would replace the encoder biases of start"),
        (
            RELU,
            alone,
            {"archetypes": 8},
            "start gives decoder rows, but archetypes compute them; leave start or archetypes out",
        ),
        (SPARSE, lambda x: (x[:, :8],), {}, "start maps 16 to 16 dimensions, but the inputs have 8 and 8"),
        (SPARSE, twice, {}, "start has the pair sae, but the inputs are for pair transcoder"),
        (SPARSE | {"skip": True}, twice, {"skip": False}, "skip is False, but start has a linear path"),
    ],
)
def test_starts_that_do_not_fit_are_refused(start, inputs, settings, message, x):
    fitted = sdl.fit(*(twice if "skip" in start else alone)(x), **start, **MADE)
    with pytest.raises(ValueError, match=message):
        sdl.fit(*inputs(x), start=fitted, **settings, **NOTHING)


def test_options_that_the_command_line_does_not_name_come_from_the_start(x, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", x)
    sdl.fit(x, activation="topk", k=4, bias=True, **MADE).save("start")
    common = ["--steps", "1", "--batch-size", "128"]
    main(["fit", "x.npy", "--out", "same", "--start", "start", *common])
    main(["fit", "x.npy", "--out", "more", "--start=start", "--k", "8", "--no-bias", *common])
    same, more = (sdl.load(name).coder.config for name in ("same", "more"))
    assert (same.activation, same.k, same.n_q, same.bias) == ("topk", 4, 40, True)
    assert (more.activation, more.k, more.n_q, more.bias) == ("topk", 8, 40, False)
