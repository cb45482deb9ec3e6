"""What decoder rows do to logits, and which rows are alike."""

from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from sdlcore.config import ModelConfig
from sdlcore.inside.features import logits_of, logits_up_and_down, nearest_latents
from sdlcore.inside.hooks import readout_of
from sdlcore.model.coder import SparseCoder
from sdlcore.random_streams import torch_stream
from tests.extraction.tiny_llama import SIZES, make_tokenizer, randomise

D = 24


@pytest.fixture(params=["llama", "gpt2"])
def lm(request: pytest.FixtureRequest) -> Any:
    torch.manual_seed(0)
    size = len(make_tokenizer())
    model: Any
    if request.param == "llama":
        model = LlamaForCausalLM(LlamaConfig(vocab_size=size, **SIZES))
    else:
        model = GPT2LMHeadModel(GPT2Config(vocab_size=size, n_embd=D, n_layer=2, n_head=4))
        torch.nn.init.normal_(model.transformer.ln_f.bias)
    randomise(model)
    torch.nn.init.normal_(readout_of(model).norm.weight)
    return model.eval()


def test_logits_are_those_of_a_stream_that_is_the_direction_alone(lm: Any):
    """But for the final norm's bias, which every stream has, and a constant, which softmax does not see."""
    direction = torch.randn(D, generator=torch.Generator().manual_seed(1))
    readout = readout_of(lm)
    with torch.no_grad():
        expected = lm.get_output_embeddings()(readout.norm(direction)) - lm.get_output_embeddings()(
            readout.norm(torch.zeros(D))
        )
    torch.testing.assert_close(logits_of(direction, readout), expected - expected.mean(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(logits_of(3 * direction, readout), logits_of(direction, readout), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("pair", ["sae", "transcoder", "crosscoder"])
def test_the_tokens_are_those_that_the_last_site_raises_and_lowers(lm: Any, pair: Any, monkeypatch: Any):
    sites = (D, D) if pair == "crosscoder" else (D,)
    coder = SparseCoder.from_config(ModelConfig(pair=pair, n_q=8), sites, sites, torch_stream(0, "coder"))
    tokenizer, readout = make_tokenizer(), readout_of(lm)
    monkeypatch.setattr("sdlcore.inside.features.TOKENS_AT_ONCE", 50)
    monkeypatch.setattr("sdlcore.inside.features.LATENTS_AT_ONCE", 2)
    tokens = logits_up_and_down(coder, [0, 3, 5], readout, tokenizer, number=4)[3]
    logits = logits_of(coder.W_dec[3, -D:], readout)
    order = logits.argsort(descending=True).tolist()
    assert [token for token, _ in tokens.up] == [tokenizer.decode([token]) for token in order[:4]]
    assert [token for token, _ in tokens.down] == [tokenizer.decode([token]) for token in order[::-1][:4]]
    assert tokens.up[0][1] == pytest.approx(float(logits.max()))


def test_the_nearest_latents_have_the_largest_cosines():
    coder = SparseCoder.from_config(ModelConfig(n_q=6), (3,), (3,), torch_stream(0, "coder"))
    with torch.no_grad():
        coder.W_dec[4] = 7 * coder.W_dec[1]
        coder.W_dec[0] = 0
    neighbours = nearest_latents(coder, [1, 3], number=3)[1]
    assert neighbours[0] == (4, pytest.approx(1))
    assert [cosine for _, cosine in neighbours] == sorted((cosine for _, cosine in neighbours), reverse=True)
    assert set(dict(nearest_latents(coder, [1], number=99)[1])) == {0, 2, 3, 4, 5}
