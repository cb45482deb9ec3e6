"""Scores of dictionaries inside a tiny Llama."""

import math

import numpy as np
import pytest
import torch

import sdlcore as sdl
from sdlcore.extraction.models import load_any
from sdlcore.inside.score import LossRecovered, warn_of_weak_ablation
from tests.extraction.tiny_llama import SIZES, documents, save_tiny_llama
from tests.refusals import no_warning

READING = {"context_length": 16, "progress": False}
CODER = sdl.SparseCoder(SIZES["hidden_size"], n_q=8).eval()


@pytest.fixture(scope="module")
def lm(tmp_path_factory):
    return load_any(save_tiny_llama(tmp_path_factory.mktemp("tiny")))


def fitted(lm, tmp_path, place, **settings):
    at = {"residual": "resid_post.1", "block.mlp.act_fn:output": "model.layers.1.mlp.act_fn"}[place]
    call = {"at": at, "out": tmp_path / "acts.h5", "device": "cpu", **READING}
    with sdl.extract(lm, documents(60), **call) as store:
        settings = {"n_q": 64, "activation": "topk", "k": 16, "batch_size": 64, **settings}
        return sdl.fit(store, progress=False, device="cpu", **settings)


@pytest.mark.parametrize("place", ["residual", "block.mlp.act_fn:output"])
def test_more_training_recovers_more_at_every_site(lm, tmp_path, place):
    scores = []
    for steps in (1, 100):
        sae = fitted(lm, tmp_path, place, steps=steps)
        scores.append(sdl.language_scores(sae, lm, documents(90)[60:], contexts=4, **READING))
        (tmp_path / "acts.h5").unlink()
    assert scores[0].clean == scores[1].clean
    assert 0 < scores[1].kl_spliced < scores[0].kl_spliced
    assert scores[1].kl_recovered_zero > scores[0].kl_recovered_zero


def test_the_mean_is_that_of_the_contexts(lm, tmp_path):
    """A dictionary that writes the mean alone is the mean ablation."""
    sae = fitted(lm, tmp_path, "residual", steps=1)
    with sdl.extract(
        lm, documents(90)[60:], at="resid_post.1", out=tmp_path / "mean.h5", device="cpu", **READING
    ) as store:
        mean = torch.from_numpy(store.read("input").astype(np.float64).mean(0)).float()
        contexts = store.provenance["contexts"]
    coder = sae.coder
    with torch.no_grad():
        coder.W_dec.zero_()
        coder.b_dec.copy_(mean)
    scores = sdl.language_scores(sae, lm, documents(90)[60:], contexts=contexts, **READING)
    # the mean of float16 activations, in another order of summing
    assert scores.spliced == pytest.approx(scores.mean, rel=1e-5)
    assert scores.kl_recovered_mean == pytest.approx(0, abs=1e-3)


def test_a_model_that_returns_logits_is_scored_as_one_that_returns_an_object(lm, tmp_path, monkeypatch):
    """A TransformerBridge of TransformerLens returns the tensor."""
    sae = fitted(lm, tmp_path, "residual", steps=1)
    expected = sdl.language_scores(sae, lm, documents(60), contexts=2, **READING)
    forward = lm.forward
    monkeypatch.setattr(lm, "forward", lambda *inputs, **options: forward(*inputs, **options).logits)
    assert sdl.language_scores(sae, lm, documents(60), contexts=2, **READING) == expected


def test_an_ablation_that_hardly_costs_anything_is_warned_of():
    scores = LossRecovered(10.84, 10.85, 12.0, 10.86, 0.99, 0.5, 0.005, 1.2, 0.04, 0.99, 0.9, 100, 1.0)
    with pytest.warns(UserWarning, match=r"an ablation costs only 0\.02 nats a token.*; compare kl_recovered_zero"):
        warn_of_weak_ablation([scores])
    with no_warning():
        warn_of_weak_ablation([scores._replace(mean=11.0)])


def test_several_dictionaries_are_scored_as_each_alone_also_of_several_sites(lm, tmp_path, monkeypatch):
    saes = {}
    for name, place in (("early", "residual"), ("wide", "residual"), ("inner", "block.mlp.act_fn:output")):
        saes[name] = fitted(lm, tmp_path, place, steps=2, seed=len(saes))
        (tmp_path / "acts.h5").unlink()
    passes = []
    handle = lm.register_forward_hook(lambda *_: passes.append(1))
    monkeypatch.setattr("sdlcore.inside.score.LITTLE", math.inf)
    with pytest.warns(UserWarning, match="an ablation costs") as warned:
        scores = sdl.language_scores(saes, lm, documents(90)[60:], contexts=4, **READING)
    assert len(warned) == 1  # and not one for each site
    monkeypatch.undo()
    handle.remove()
    assert list(scores) == list(saes)
    # to the bit; 3 passes and one for each dictionary at each site, while passes that stop early call no hook
    assert scores == {
        name: sdl.language_scores(sae, lm, documents(90)[60:], contexts=4, **READING) for name, sae in saes.items()
    }
    assert len(passes) == 4 * ((3 + 2) + (3 + 1))
    assert [line.split()[0] for line in repr(scores).splitlines()[1:]] == list(saes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"texts": ["river"]}, "too short for one context of 16 tokens"),
        ({"layer": 99}, "layer must be between 1 and"),
        ({"dictionaries": {}}, "an empty mapping"),
    ],
)
def test_what_cannot_be_scored_is_refused(change, message, lm):
    call = {"dictionaries": CODER, "texts": documents(9), "layer": 2, **change}
    dictionaries, texts = call.pop("dictionaries"), call.pop("texts")
    with pytest.raises(ValueError, match=message):
        sdl.language_scores(dictionaries, lm, texts, **call, **READING)


def test_a_missing_layer_is_named_before_the_model_is_loaded(monkeypatch):
    monkeypatch.setattr("sdlcore.inside.reader.loaded", lambda *_: pytest.fail("the model is loaded"))
    with pytest.raises(ValueError, match="layer is missing"):
        sdl.language_scores(CODER, "nowhere", documents(9), **READING)
