"""A HookedTransformer is read at its hooks. The stand-in has the hooks and names of TransformerLens' model."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import sdlcore as sdl
from sdlcore.errors import SourceError
from sdlcore.extraction.models import load_tokenizer
from sdlcore.extraction.places import HOOKS
from tests.extraction.tiny_llama import documents, save_tiny_llama

WIDTH, WORDS = 8, 400
READING = {"context_length": 16, "drop": (), "bos": False, "device": "cpu", "progress": False}


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.mlp = nn.Linear(WIDTH, WIDTH)
        self.mlp.hook_in = nn.Identity()
        for hook in set(HOOKS.values()) - {"mlp.hook_in"}:
            setattr(self, hook, nn.Identity())

    def forward(self, x):
        x = self.hook_resid_pre(x)
        x = self.hook_resid_mid(x + self.hook_attn_out(x.cumsum(1).tanh()))
        return self.hook_resid_post(x + self.hook_mlp_out(self.mlp(self.mlp.hook_in(x / 2))))


class HookedTransformer(nn.Module):
    def __init__(self, tokenizer):
        super().__init__()
        self.cfg = SimpleNamespace(model_name="tiny", dtype=torch.float32, n_ctx=64, d_model=WIDTH)
        self.tokenizer, self.W_E = tokenizer, nn.Parameter(torch.randn(WORDS, WIDTH))
        self.blocks = nn.ModuleList(Block() for _ in range(3))
        self.hook_dict = {}

    def forward(self, ids, return_type, prepend_bos):
        x = self.W_E[ids]
        for block in self.blocks:
            x = block(x)


@pytest.fixture(scope="module")
def lm(tmp_path_factory):
    torch.manual_seed(0)
    return HookedTransformer(load_tokenizer(save_tiny_llama(tmp_path_factory.mktemp("tiny"))))


@pytest.mark.parametrize("site", HOOKS)
def test_each_site_is_the_hook_of_its_name(site, lm, tmp_path):
    outputs = []
    hook = lm.blocks[1].get_submodule("mlp" if site == "mlp_input" else HOOKS[site])
    with sdl.extract(lm, documents(40), layer=f"blocks.1.{HOOKS[site]}", out=tmp_path / "a.h5", **READING) as store:
        x, ids = store.read("input"), torch.from_numpy(store.read("references/token")).long().reshape(-1, 16)
        assert store.provenance["model"]["name"] == "tiny"
        assert (store.provenance["source"]["layer"], store.provenance["source"]["site"]) == (2, site)
    handle = hook.register_forward_hook(
        lambda _, inputs, out: outputs.append(inputs[0] if site == "mlp_input" else out)
    )
    with torch.no_grad():
        lm(ids, None, False)
    handle.remove()
    np.testing.assert_allclose(x.astype("float32"), outputs[0].reshape(-1, WIDTH), rtol=2**-10, atol=1e-3)


def test_what_a_hooked_transformer_needs_is_named(lm, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="paths are for transformers models, but lm is a HookedTransformer"):
        sdl.extract(lm, ["text"], layer=1, out=tmp_path / "a.h5", paths={"blocks": "blocks"}, **READING)
    monkeypatch.setattr(lm, "tokenizer", None)
    with pytest.raises(ValueError, match="lm is a HookedTransformer without a tokenizer; give tokenizer"):
        sdl.extract(lm, ["text"], layer=1, out=tmp_path / "a.h5", **READING)


class TransformerBridge(HookedTransformer):
    pass


def test_a_bridge_is_refused_with_what_to_give_instead(lm, tmp_path):
    bridge, dictionary = TransformerBridge(lm.tokenizer), object()
    message = "TransformerBridge of TransformerLens, which is not supported yet; give .* lm.original_model, with tokeni"
    with pytest.raises(SourceError, match=message):
        sdl.extract(bridge, ["text"], layer=1, out=tmp_path / "a.h5", **READING)
    with pytest.raises(SourceError, match=message):
        sdl.language_scores(dictionary, bridge, ["text"], layer=1)
