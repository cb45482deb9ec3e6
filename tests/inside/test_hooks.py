"""Where dictionaries belong in a model."""

from typing import Any

import pytest
from transformers import LlamaConfig, LlamaForCausalLM

from sdlcore.config import ModelConfig
from sdlcore.dictionary.card import where_of
from sdlcore.extraction.config import LanguageSource
from sdlcore.extraction.hooks import Stack
from sdlcore.inside.hooks import sites_of
from sdlcore.model.coder import SparseCoder
from tests.extraction.tiny_llama import SIZES


@pytest.mark.parametrize(
    ("pair", "settings"),
    [
        ("sae", {"layer": 2}),
        ("sae", {"layer": 2, "site": "mlp"}),
        ("sae", {"layers": (1, 3)}),
        ("transcoder", {"layer": 2, "site": "mlp"}),
        ("transcoder", {"layers": (1, 3)}),
        ("crosscoder", {"layers": (1, 3)}),
    ],
)
def test_a_dictionary_is_put_where_its_source_took_the_activations(pair: Any, settings: dict[str, Any]):
    source = LanguageSource("model", "text", **settings)
    sites = (24, 24) if pair == "crosscoder" else (24,)
    coder = SparseCoder.from_config(ModelConfig(pair=pair, n_q=8), sites, sites).eval()
    lm = LlamaForCausalLM(LlamaConfig(vocab_size=30, **SIZES))
    expected = {"input": source.sites["input"]} if pair == "sae" else source.sites
    assert sites_of(coder, Stack.of(lm), **where_of(source, pair)) == expected
