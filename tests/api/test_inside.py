"""Dictionaries for users inside a tiny Llama: the same as the functions below; a dictionary may know its layer."""

import re

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

import sdlcore as sdl
from sdlcore.config import ModelConfig
from sdlcore.inside.features import SHOWN
from sdlcore.inside.splicing import splice
from sdlcore.model.coder import SparseCoder
from sdlcore.random_streams import torch_stream
from tests.extraction.tiny_llama import SIZES, documents, randomise, save_tiny_llama

D = 24
IDS = torch.randint(100, (2, 8), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def lm():
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=100, **SIZES))
    randomise(model)
    return model.eval()


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    return save_tiny_llama(tmp_path_factory.mktemp("lm"))


@pytest.fixture
def sae():
    config = ModelConfig(activation="topk", k=4, n_q=40)
    return sdl.Dictionary(SparseCoder.from_config(config, (D,), (D,), torch_stream(0, "sae")))


def logits(lm):
    with torch.no_grad():
        return lm(IDS).logits


def test_a_dictionary_is_spliced_in_as_its_coder_is(lm, sae):
    before = logits(lm)
    with sdl.splice(lm, layer=2, dictionary=sae, edit=sdl.steer(7, by=25.0)):
        spliced_logits = logits(lm)
    with splice(lm, 2, sae.coder, sdl.steer(7, by=25.0)):
        assert torch.equal(spliced_logits, logits(lm))
    assert not torch.allclose(spliced_logits, before)
    assert torch.equal(logits(lm), before)


def test_a_dictionary_of_a_language_models_store_knows_its_layer(lm, sae):
    source = {"model": "m", "text": "t", "layer": 2, "train_samples": 9, "test_samples": 9}
    facts = {"source": source, "model": {}, "text": {}, "separator": {"id": 0}, "largest_norm": {}}
    knowing = sdl.Dictionary(sae.coder, {"activations": facts})
    with sdl.splice(lm, dictionary=knowing, edit=sdl.ablate([3])):
        spliced_logits = logits(lm)
    with sdl.splice(lm, 2, sae, sdl.ablate([3])):
        assert torch.equal(spliced_logits, logits(lm))


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ({"layer": 1}, "layer 1 .blocks.0.hook_resid_post"),
        ({"layer": "model.layers.0"}, "layer 1 .blocks.0.hook_resid_post"),
        ({"layer": "blocks.1.hook_mlp_out"}, "layer 2, mlp_output .blocks.1.hook_mlp_out"),
        ({"layer": 2, "place": "mlp_output"}, "layer 2, mlp_output .blocks.1.hook_mlp_out"),
    ],
)
def test_a_dictionary_elsewhere_than_where_it_was_fitted_brings_a_warning(place, message, lm, sae, recwarn):
    knowing = sdl.Dictionary(sae.coder, {"activations": {"where": {"layer": 2, "place": "residual"}}})
    with sdl.splice(lm, 2, knowing):
        assert not recwarn.list
    with (
        pytest.warns(UserWarning, match=f"fitted at layer 2 .blocks.1.hook_resid_post., and is put at {message}"),
        sdl.splice(lm, dictionary=knowing, **place),
    ):
        pass


def test_the_contexts_of_one_latent_are_those_of_several(tmp_path, sae):
    model = save_tiny_llama(tmp_path / "lm")
    one, several = (sdl.contexts(sae, model, documents(20), latents, layer=2) for latents in (np.int64(3), [3]))
    assert [feature.latent for feature in one.features] == [3]
    assert one.features[0].contexts == several.features[0].contexts


def test_contexts_without_latents_show_some_from_the_most_to_the_least_frequent(tmp_path, sae):
    model = save_tiny_llama(tmp_path / "lm")
    every = sdl.contexts(sae, model, documents(20), range(sae.n_q), layer=2)
    some = sdl.contexts(sae, model, documents(20), layer=2)
    density = {feature.latent: feature.density for feature in every.features}
    densities = [feature.density for feature in some.features]
    assert densities == [density[feature.latent] for feature in some.features]
    assert densities == sorted(densities, reverse=True)
    assert len(densities) == min(SHOWN, sum(share > 0 for share in density.values()))
    assert densities[0] == max(density.values())
    assert densities[-1] == min(share for share in density.values() if share)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"place": "bogus"}, "place: 'bogus' is not one of residual_before, "),
        ({"place": "mlp_out"}, "of a module; did you mean mlp_output?"),
        ({"layer": None}, "layer is missing"),
        ({"dictionary": None}, "dictionary is a NoneType; call splice(lm, layer, dictionary)"),
    ],
)
def test_arguments_of_a_splice_are_checked(change, message, lm, sae):
    call = {"layer": 2, "dictionary": sae, **change}
    with pytest.raises(ValueError, match=re.escape(message)), sdl.splice(lm, **call):
        pass


SILENT = sdl.Dictionary(SparseCoder.from_config(ModelConfig(n_q=8), (D,), (D,)))
