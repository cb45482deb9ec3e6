"""Activations of a tiny Llama as a store, as the pipeline's script writes them."""

import copy
import json
import re
import shutil
import zipfile
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from tokenizers import Tokenizer
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

import sdlcore as sdl
from sdlcore.errors import SourceError
from sdlcore.extraction import filling, preparation
from sdlcore.extraction.config import LanguageSource
from sdlcore.extraction.models import load_tokenizer, load_whole
from tests.conftest import script
from tests.extraction.tiny_llama import BLOCKS, SIZES, documents, save_tiny_gguf, save_tiny_llama

READING: dict[str, Any] = {"context_length": 16, "contexts_per_batch": 3, "device": "cpu", "progress": False}
TOKENS = 300


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_llama(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def lm(folder: Path) -> Any:
    return load_whole(folder)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "words.jsonl"
    path.write_text("\n".join(json.dumps({"body": text}) for text in documents(60)))
    return path


@pytest.mark.parametrize(
    ("where", "settings"),
    [
        ({"layer": 2}, {"layer": 2}),
        ({"layer": 3, "place": "mlp", "drop": ()}, {"layer": 3, "site": "mlp", "drop": ()}),
        ({"layer": (1, BLOCKS), "dtype": "bfloat16"}, {"layers": (1, BLOCKS), "dtype": "bfloat16"}),
    ],
)
def test_a_notebook_and_a_pipeline_extract_the_same_bits(folder, text, tmp_path, where, settings):
    reading = {"context_length": 16, "contexts_per_batch": 3, "text_column": "body"}
    source = LanguageSource("m", "t", train_samples=TOKENS, test_samples=50, **reading, **settings)
    arguments = {"source": source, "model": str(folder), "text": str(text), "device": "cpu"}
    script("activations")(**arguments, threads=torch.get_num_threads(), train=tmp_path / "a.h5", test=tmp_path / "b.h5")
    options = sdl.ActivationStore(tmp_path / "a.h5").provenance["source"]
    with (
        sdl.ActivationStore(tmp_path / "a.h5") as expected,
        sdl.extract(
            folder, text, out=tmp_path / "c.h5", tokens=TOKENS, text_options=source.text_options, **where, **READING
        ) as store,
    ):
        assert (store.checksum, store.rows) == (expected.checksum, TOKENS)
        assert store.columns() == expected.columns()
        assert all(np.array_equal(store.read(name), expected.read(name)) for name in store.columns())
        for fact in ("model", "text", "input", "separator", "largest_norm", "precision", "rows_by_kind", "package"):
            assert store.provenance[fact] == expected.provenance[fact]
        source_facts = store.provenance["source"]
        assert {name: options[name] for name in source_facts.keys() - {"model", "text"}} == {
            name: value for name, value in source_facts.items() if name not in ("model", "text")
        }
        assert (source_facts["model"], source_facts["text"], store.provenance["tokens"]) == (
            str(folder),
            str(text),
            TOKENS,
        )


def test_a_loaded_model_gives_the_rows_of_its_folder(folder, lm, tmp_path):
    texts = documents(60)
    with (
        sdl.extract(lm, texts, layer=2, out=tmp_path / "a.h5", **READING) as store,
        sdl.extract(folder, iter(texts), layer=2, out=tmp_path / "b.h5", **READING) as expected,
    ):
        assert (store.checksum, store.rows) == (expected.checksum, expected.rows)
        assert store.provenance["rows_by_kind"]["kept"] == store.rows
        assert set(store.provenance["model"]) == {"name", "commit", "sha256"}
        contexts = store.provenance["contexts"]
        assert contexts * 16 == sum(store.provenance["rows_by_kind"].values())
    # all of the text: so many contexts fit into it
    tokenizer = load_tokenizer(folder)
    ids = [tokenizer(text)["input_ids"] for text in texts if text]
    assert contexts == (sum(map(len, ids)) + len(ids) - 1) // 16


def test_a_folder_may_begin_with_the_users_home(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.parent))
    with sdl.extract(f"~/{folder.name}", documents(60), layer=2, out=tmp_path / "a.h5", **READING) as store:
        assert store.rows > 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_model_by_name_with_another_tokenizer_runs_on_the_device_too(folder, tmp_path):
    call = READING | {"device": "cuda", "tokenizer": load_tokenizer(folder)}
    with sdl.extract(folder, documents(60), layer=2, out=tmp_path / "a.h5", **call) as store:
        assert store.provenance["device"] == "cuda"


def test_a_dictionary_of_the_store_knows_its_place(lm, tmp_path):
    with sdl.extract(lm, documents(60), layer=2, place="mlp", out=tmp_path / "acts.h5", **READING) as store:
        assert store.n_r == SIZES["hidden_size"]
        sae = sdl.fit(store, pair="transcoder", n_q=8, activation="topk", k=2, batch_size=64, steps=2, progress=False)
    assert sae.provenance["activations"]["tokens"] is None
    ids = torch.arange(16)[None]
    with torch.no_grad():
        with sdl.splice(lm, dictionary=sae):
            clean = lm(ids).logits
        with sdl.splice(lm, layer=2, dictionary=sae, place="mlp"):
            assert torch.equal(clean, lm(ids).logits)
        assert not torch.equal(clean, lm(ids).logits)


def test_several_layers_are_the_sites_of_one_store_or_stores_side_by_side(lm, tmp_path):
    reading = READING | {"drop": ("first_position", "separator")}
    crosscoder = {"n_q": 8, "activation": "topk", "k": 2, "batch_size": 64, "steps": 2, "progress": False}
    layers = sdl.extract_layers(lm, documents(60), layers=[1, 2, 3], out=tmp_path / "layers", **reading)
    with sdl.extract(lm, documents(60), layer=(1, 2, 3), out=tmp_path / "acts.h5", **reading) as store:
        assert store.widths == (SIZES["hidden_size"],) * 3
        for column, alone in zip(("input", "target", "site2"), layers, strict=True):
            np.testing.assert_array_equal(store.read(column), alone.read("input"))
        dictionary = sdl.fit(store, pair="crosscoder", **crosscoder)
        np.testing.assert_array_equal(dictionary.W_dec, sdl.fit(layers, **crosscoder).W_dec)
        np.testing.assert_array_equal(dictionary.encode(store), dictionary.encode(layers))
    pages = sdl.contexts(dictionary, lm, documents(60), latents=[0, 1], context_length=16)  # it knows its three layers
    assert [feature.latent for feature in pages.features] == [0, 1]
    for one in layers:
        one.close()


def test_a_model_of_another_architecture_is_extracted_from(folder, tmp_path):
    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config(vocab_size=400, n_embd=8, n_layer=2, n_head=2, n_positions=32)).save_pretrained(
        tmp_path / "gpt2"
    )
    load_tokenizer(folder).save_pretrained(tmp_path / "gpt2")
    with sdl.extract(tmp_path / "gpt2", documents(9), layer=2, out=tmp_path / "a.h5", drop=(), **READING) as store:
        x = store.read("input")
        token = store.read("references/token")
    gpt2 = GPT2LMHeadModel.from_pretrained(tmp_path / "gpt2").eval()
    outputs = []
    gpt2.transformer.h[1].register_forward_hook(
        lambda _, __, output: outputs.append(output[0] if isinstance(output, tuple) else output)
    )
    with torch.no_grad():
        gpt2(torch.from_numpy(token[:16]).long()[None])
    np.testing.assert_allclose(x[:16].astype(np.float32), outputs[0].reshape(16, 8), rtol=2**-10, atol=1e-6)  # float16


def other_tokenizer(folder):
    """Return the tokenizer with two words swapped."""
    words = json.loads(load_tokenizer(folder).backend_tokenizer.to_str())
    vocabulary = words["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(words)), eos_token="<|im_end|>")


def test_a_finished_store_is_opened_and_no_other_is_overwritten(folder, tmp_path, monkeypatch, caplog):
    call = {"lm": folder, "texts": documents(60), "out": tmp_path / "acts.h5", "tokens": TOKENS, **READING}
    with sdl.extract(layer=2, **call) as store:
        checksum = store.checksum
    written = (tmp_path / "acts.h5").stat().st_mtime_ns
    with sdl.extract(layer=2, **call) as store:
        assert store.checksum == checksum
    refused = r"acts\.h5 belongs to another run: {}.*\. Delete it, or choose another file"
    for other, message in [
        ({"layer": 3}, "layer is 2, here 3"),
        ({"tokens": 200}, "tokens is 300, here 200"),
        ({"texts": documents(50)}, r"inputs\.text\."),
        ({"dtype": "bfloat16"}, "dtype is missing, here bfloat16"),
        ({"tokenizer": other_tokenizer(folder)}, r"inputs\.model\."),
    ]:
        with pytest.raises(ValueError, match=refused.format(message)):
            sdl.extract(**{"layer": 2, **call, **other})
    assert not caplog.text
    others = {"package": "x", "versions": {"torch": "3"}}
    monkeypatch.setattr(preparation, "provenance", lambda **facts: facts | others)
    sdl.extract(layer=2, **call).close()
    assert re.search(r"acts\.h5 was computed with torch .* \(here 3\), other code of sdlcore", caplog.text)
    assert (tmp_path / "acts.h5").stat().st_mtime_ns == written


@contextmanager
def cut_off(monkeypatch, batches):
    """Interrupt the call in the block after it appended this number of batches to stores."""
    once, batch_numbers = filling.Filling._append, iter(range(batches))

    def append(self, *args):
        if next(batch_numbers, None) is None:
            raise KeyboardInterrupt
        once(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(filling.Filling, "_append", append)
        with pytest.raises(KeyboardInterrupt):
            yield


def test_an_extraction_that_was_cut_off_resumes(folder, tmp_path, monkeypatch):
    call = {"lm": folder, "texts": documents(60), "layer": 2, **READING}
    with sdl.extract(out=tmp_path / "whole.h5", **call) as store:
        checksum, facts = store.checksum, store.provenance
    monkeypatch.setattr(filling, "COMMIT_BATCHES", 2)
    with cut_off(monkeypatch, batches=5):
        sdl.extract(out=tmp_path / "acts.h5", **call)
    assert not (tmp_path / "acts.h5").exists()
    once, resumed = filling.Filling._append, []
    monkeypatch.setattr(filling.Filling, "_append", lambda self, *args: (resumed.append(1), once(self, *args))[1])
    with sdl.extract(out=tmp_path / "acts.h5", **call) as store:
        assert (store.checksum, store.provenance) == (checksum, facts)
    assert len(resumed) == -(-facts["contexts"] // 3) - 4  # two commits of two batches each were kept


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"out": "acts.npy"}, r"acts\.npy: expected the name of a store, which ends in \.h5"),
        ({"layer": 9}, "layer is 9, but the model has 4 blocks"),
        ({"layer": None}, "layer is None, expected a block, counted from 1, or a name of its place"),
        ({"layer": (1, 1)}, "different blocks, two or more"),
        ({"layer": (1, 2), "place": "mlp"}, "takes one site of several blocks, but mlp is two"),
        (
            {"place": "attention"},
            "place must be one of residual_before, .*, mlp, or PATH:input or .*, found 'attention'",
        ),
        ({"context_length": 99}, "context_length must be between 2 and the model's 64, found 99"),
        ({"bos": True}, "bos is True, but the tokenizer has no bos token"),
        ({"bos": "yes"}, "bos must be"),
        ({"place": "rotary_emb:output"}, "rotary_emb:output has the shape .*, expected one row for each token"),
        ({"tokenizer": "gpt2"}, "tokenizer is 'gpt2', expected a tokenizer of transformers"),
        ({"texts": ["river", "\ud800 stone"]}, r"texts\[1\] contains half of a character"),
        ({"texts": 3}, "texts must be strings, one a document, or the name of a file"),
        ({"tokens": 10**6}, "1000000 rows need about [0-9]+; take a longer text, or lower tokens"),
        ({"tokens": 0}, "tokens must be"),
        ({"texts": ["river"]}, "has 1 tokens, but no token becomes a row; use a longer text, or lower context_length"),
    ],
)
def test_what_cannot_be_extracted_is_refused_in_a_sentence(folder, tmp_path, options, message):
    call = {"texts": documents(20), "layer": 2, **READING, **options, "out": tmp_path / options.get("out", "acts.h5")}
    with pytest.raises((ValueError, SourceError), match=message):
        sdl.extract(folder, **call)
    assert not list(tmp_path.iterdir())


def damaged(content):
    """Return a function that copies a model and writes another config.json."""

    def model(lm, folder):
        shutil.copytree(lm.name_or_path, folder / "lm")
        (folder / "lm/config.json").write_bytes(content)
        return folder / "lm"

    return model


def with_few_words(lm, _):
    return LlamaForCausalLM(LlamaConfig(vocab_size=100, **SIZES))


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        *((damaged(content), {}, r"lm/config\.json: ") for content in (b"", b"\xff\xfe", b"[" * 100_000, b"[]")),
        (
            with_few_words,
            {"tokenizer": True},
            r"the tokenizer returns the token [0-9]+, but the model knows 100 tokens",
        ),
        (lambda lm, _: lm, {"dtype": "bfloat16"}, "dtype is bfloat16, but lm is a loaded model, which has its own"),
        (lambda lm, _: lm, {"layer": BLOCKS + 1}, f"layer is {BLOCKS + 1}, but the model has {BLOCKS} blocks"),
        (lambda *_: "", {}, "^lm is empty, expected a path"),
    ],
)
def test_models_that_cannot_be_read_from_are_refused(model, options, message, lm, tmp_path):
    if "tokenizer" in options:
        options = {"tokenizer": load_tokenizer(lm.name_or_path)}
    call = {"layer": 2, "out": tmp_path / "acts.h5", **READING, **options}
    with pytest.raises((ValueError, SourceError), match=message):
        sdl.extract(model(lm, tmp_path), documents(20), **call)


def test_a_model_in_float64_gives_the_same_rows(lm, tmp_path):
    call = {"texts": documents(20), "layer": 2, "tokens": 50, **READING}
    double = copy.deepcopy(lm).double()
    with sdl.extract(lm, out=tmp_path / "a.h5", **call) as a, sdl.extract(double, out=tmp_path / "b.h5", **call) as b:
        # two roundings to float16, 2^-11 each, of numbers that differ by rounding in float32
        np.testing.assert_allclose(a.read("input"), b.read("input"), rtol=2**-9, atol=2**-9)


@pytest.fixture(scope="module")
def wheel(folder, tmp_path_factory):
    """Return the user's cache with a wheel that contains a GGUF file and a text."""
    cache = tmp_path_factory.mktemp("cache")
    (cache / "sdlcore/wheels").mkdir(parents=True)
    model = save_tiny_gguf(folder, cache / "tiny.gguf")
    with zipfile.ZipFile(cache / "sdlcore/wheels/tiny-1.0-py3-none-any.whl", "w") as archive:
        archive.write(model, "tiny/tiny.gguf")
        archive.writestr("tiny/words.json", json.dumps(documents(60)))
    return cache


def test_models_and_texts_in_wheels_and_gguf_files_are_read(folder, wheel, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(wheel))
    text, model = "wheel:tiny==1.0#tiny/words.json", "wheel:tiny==1.0#tiny/tiny.gguf"
    call = {"layer": 2, "tokens": TOKENS, **READING}
    (tmp_path / "words.json").write_text(json.dumps(documents(60)))
    with sdl.extract(folder, tmp_path / "words.json", out=tmp_path / "folder.h5", **call) as store:
        expected = store.checksum
    for name, lm in {"wheel": model, "gguf": wheel / "tiny.gguf"}.items():
        with sdl.extract(lm, text, out=tmp_path / f"{name}.h5", **call) as store:
            assert store.checksum == expected
            sae = sdl.fit(store, activation="topk", k=4, n_q=32, steps=5, batch_size=64, device="cpu", progress=False)
    reading = {"context_length": 16, "progress": False}
    assert sdl.contexts(sae, model, text, [3], tokens=100, **reading).features[0].latent == 3
    assert sdl.language_scores(sae, model, text, contexts=2, **reading).predictions == 30
    with sdl.splice(model, dictionary=sae) as lm:
        spliced = lm(torch.ones(1, 4, dtype=torch.long)).logits
    assert not torch.equal(spliced, lm(torch.ones(1, 4, dtype=torch.long)).logits)


@pytest.mark.parametrize(("bos", "begins"), [(True, True), (False, False), (None, False)])
def test_contexts_begin_with_the_bos_token_as_the_user_says(lm, tmp_path, bos, begins):
    tokenizer = load_tokenizer(lm.name_or_path)
    tokenizer.bos_token = "<|im_end|>"
    call = {"layer": 2, "tokens": 64, "drop": (), "tokenizer": tokenizer, **READING}
    with sdl.extract(lm, documents(60), out=tmp_path / "acts.h5", bos=bos, **call) as store:
        firsts = store.read("token")[::16]
        assert (firsts == tokenizer.bos_token_id).all() == begins
        assert (store.provenance["opening"] is None) != begins
    if bos is not None:
        with pytest.raises(ValueError, match="belongs to another run: bos is"):
            sdl.extract(lm, documents(60), out=tmp_path / "acts.h5", bos=not bos, **call)


@pytest.mark.parametrize(("place", "drop"), [("residual", ("first_position", "outlier")), ("mlp", ())])
def test_several_layers_in_one_pass_get_the_bits_of_a_pass_for_each(folder, tmp_path, place, drop):
    call = {"place": place, "drop": drop, "tokens": TOKENS, "outlier_norm": 1.5, **READING}
    stores = sdl.extract_layers(folder, documents(60), layers=[3, 1, BLOCKS], out=tmp_path, **call)
    ends = set()
    for layer, store in zip([3, 1, BLOCKS], stores, strict=True):
        with (
            store,
            sdl.extract(folder, documents(60), layer=layer, out=tmp_path / "one" / f"{layer}.h5", **call) as alone,
        ):
            assert (store.checksum, store.provenance) == (alone.checksum, alone.provenance)
            assert all(np.array_equal(store.read(name), alone.read(name)) for name in alone.columns())
            ends.add(store.provenance["contexts"])
    assert (len(ends) > 1) == ("outlier" in drop)  # each drops outliers of its own, so that they end at other tokens


def test_layers_that_were_cut_off_or_added_are_filled_beside_finished_ones(folder, tmp_path, monkeypatch):
    call = {"texts": documents(60), "drop": (), **READING}
    whole = {
        store.path.name: store.checksum
        for store in sdl.extract_layers(folder, layers=[1, 2], out=tmp_path / "a", **call)
    }
    monkeypatch.setattr(filling, "COMMIT_BATCHES", 2)
    with cut_off(monkeypatch, batches=11):  # after the first store's sixth batch, and before the second's
        sdl.extract_layers(folder, layers=[1, 2], out=tmp_path / "b", **call)
    resumed = {
        store.path.name: store.checksum
        for store in sdl.extract_layers(folder, layers=[2, 1], out=tmp_path / "b", **call)
    }
    assert resumed == whole


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": [2, 2]}, r"layers must be different blocks, one at least, found \[2, 2\]"),
        ({"layers": []}, r"layers must be different blocks, one at least, found \[\]"),
        ({"layers": 2}, "layers is 2, expected a list of blocks, or of names"),
        ({"layers": "blocks.1.hook_resid_post"}, "layers is 'blocks.1.hook_resid_post', expected a list"),
    ],
)
def test_layers_and_options_that_cannot_be_are_refused(options, message, folder, tmp_path):
    with pytest.raises(ValueError, match=message):
        sdl.extract_layers(folder, documents(9), out=tmp_path, **options)


@pytest.mark.parametrize(
    ("place", "by_hand"),
    [
        ("block.self_attn.o_proj:input", lambda lm: (lm.model.layers[1].self_attn.o_proj, 0)),
        ("model.layers.1.mlp.act_fn:output", lambda lm: (lm.model.layers[1].mlp.act_fn, 1)),
        ("layers.1.mlp.up_proj:output", lambda lm: (lm.model.layers[1].mlp.up_proj, 1)),
    ],
)
def test_any_module_is_extracted_by_its_path(folder, lm, tmp_path, place, by_hand):
    with sdl.extract(folder, documents(60), layer=2, place=place, drop=(), out=tmp_path / "a.h5", **READING) as store:
        x, token = store.read("input"), store.read("references/token")
    module, side = by_hand(lm)
    values = []
    hook = module.register_forward_hook(lambda _, inputs, output: values.append((inputs[0], output)[side]))
    with torch.no_grad():
        lm(torch.from_numpy(token[: 3 * 16]).long().reshape(3, 16))
    hook.remove()
    assert np.array_equal(x[: 3 * 16], values[0].flatten(0, 1).half().numpy())


def test_an_unknown_architecture_is_extracted_from_by_ten_lines_of_yaml(folder, tmp_path):
    config = BloomConfig(vocab_size=400, hidden_size=8, n_layer=2, n_head=2)
    BloomForCausalLM(config).save_pretrained(tmp_path / "bloom")
    load_tokenizer(folder).save_pretrained(tmp_path / "bloom")
    paths = yaml.safe_load(PATHS)["sources"]["language"]["bloom"]["paths"]
    call = {"texts": documents(20), "layer": 2, "drop": (), "tokens": 32, **READING}
    with pytest.raises(SourceError, match=r"architecture is 'bloom', .*; say where its modules are: set paths"):
        sdl.extract(tmp_path / "bloom", out=tmp_path / "a.h5", **call)
    lm = BloomForCausalLM.from_pretrained(tmp_path / "bloom").eval()
    for model in (tmp_path / "bloom", lm):
        out = tmp_path / f"{type(model).__name__}.h5"
        with sdl.extract(model, place="residual_middle->mlp_output", paths=paths, out=out, **call) as store:
            token, x, target = (store.read(name) for name in ("references/token", "input", "target"))
        with torch.no_grad():
            states = lm(torch.from_numpy(token).long().reshape(2, 16), output_hidden_states=True).hidden_states
        # the stream between attention and MLP, and what the MLP adds to it, make the one behind the block
        behind = lm.transformer.ln_f(torch.from_numpy(x.astype(np.float32) + target))
        # both are rounded to float16, and the norm enlarges that by the reciprocal of the stream's scale
        np.testing.assert_allclose(behind.detach(), states[2].flatten(0, 1), atol=0.02)
    with pytest.raises(SourceError, match=r"has no module attn, but .*self_attention"):
        sdl.extract(
            lm, place="attention_output", paths=paths | {"attention_output": "attn"}, out=tmp_path / "b.h5", **call
        )


PATHS = """
sources:
  language:
    bloom:
      model: models/bloom
      text: data/corpus
      paths:
        blocks: h
        middle: post_attention_layernorm
        mlp_input: mlp
        mlp_output: mlp.dense_4h_to_h
"""
