"""One dictionary for each layer of a tiny Llama: fitted, exported as a set, resumed, spliced in."""

import copy
import json
import shutil
import tempfile
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from tokenizers import Tokenizer
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

import sdlcore as sdl
from sdlcore.api.fitting import Fit
from sdlcore.commands.main import main
from sdlcore.inside.reader import opened_text
from sdlcore.sources.language.checkpoints import load_tokenizer, load_whole
from sdlcore.sources.language.tokens import TokenisedText
from tests.refusals import no_warning
from tests.sources.language.tiny_llama import BLOCKS, SIZES, documents, save_tiny_llama

D = SIZES["hidden_size"]
SETTINGS: dict[str, Any] = {"n_q": 40, "batch_size": 64, "steps": 20, "log_every": 10}
TOPK = SETTINGS | {"activation": "topk", "k": 4}
READING: dict[str, Any] = {"context_length": 16, "device": "cpu", "progress": False}
JUMPRELU = ["--activation", "jumprelu", "--l0", "0.01", "--n-q", "40", "--batch-size", "64", "--steps", "20"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("layers")
    save_tiny_llama(folder / "lm")
    (folder / "text.jsonl").write_text("\n".join(json.dumps(text) for text in documents(60)))
    return folder


@pytest.fixture(scope="module")
def lm(folder):
    return load_whole(folder / "lm")


@pytest.fixture(scope="module")
def transcoders(lm):
    return sdl.fit_layers(lm, documents(60), **READING, **TOPK)


def test_a_set_is_written_in_the_order_of_its_layers(transcoders, tmp_path):
    layers = ", ".join(map(str, range(BLOCKS, 0, -1)))
    with pytest.raises(
        ValueError, match=f"dictionaries were fitted at layers {layers}; a set needs all layers in order"
    ):
        sdl.export_set(transcoders[::-1], "circuit_tracer", tmp_path / "set")


@pytest.fixture(scope="module")
def command(folder):
    """Run the command; return it with its output set."""
    out = folder / "set"
    read = ["--model", str(folder / "lm"), "--text", str(folder / "text.jsonl"), "--context-length", "16"]
    call = ["fit-layers", *read, "--out", str(out), "--device", "cpu", "--to", "circuit_tracer", *JUMPRELU]
    main([*call, "--model-name", "tiny"])
    return call, out


def at_the_mlp(lm, block, tokens):
    """Return input and output of a block's MLP, from our own hooks."""
    values = []
    mlp = lm.model.layers[block - 1].mlp
    hook = mlp.register_forward_hook(lambda _, inputs, result: values.append((inputs[0], result)))
    with torch.no_grad():
        lm(torch.from_numpy(np.stack([context.token for context in tokens])).long())
    hook.remove()
    return [part.flatten(0, 1).half().numpy() for part in values[0]]


def logits(lm):
    ids = torch.randint(100, (2, 8), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return lm(ids).logits


def test_each_layer_is_fitted_to_what_enters_and_leaves_its_mlp(lm):
    texts = documents(60)
    dictionaries = sdl.fit_layers(lm, texts, layers=[3], tokens=200, drop=(), contexts_per_batch=99, **READING, **TOPK)
    packed = TokenisedText(opened_text(texts, None), load_tokenizer(lm.name_or_path)).contexts(16)
    x, target = at_the_mlp(lm, 3, list(packed)[:13])
    expected = sdl.fit(x, target, progress=False, device="cpu", **TOPK)
    assert dictionaries[0].provenance["inputs"] == expected.provenance["inputs"]
    assert torch.equal(dictionaries[0].W_dec, expected.W_dec)


@pytest.mark.parametrize(("place", "pair"), [("residual", "sae"), ("mlp", "transcoder")])
def test_stores_of_the_layers_are_fitted_without_the_model(lm, tmp_path, place, pair):
    reading = {"context_length": 16, "progress": False}
    stores = sdl.extract_layers(lm, documents(60), layers=[1, 3], place=place, out=tmp_path / "acts", **reading)
    call = {"out": tmp_path / "runs", "device": "cpu", "progress": False, **TOPK}
    dictionaries = sdl.fit_layers(stores, **call)
    for store in stores:
        store.close()
    for number, one in enumerate(dictionaries):
        expected = sdl.fit(store_path(stores[number]), pair=pair, progress=False, device="cpu", **TOPK)
        assert torch.equal(one.W_dec, expected.W_dec)
        with sdl.splice(lm, dictionary=one):  # it knows its layer
            lm(torch.ones(1, 4, dtype=torch.long))
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["layer_1", "layer_3"]
    again = sdl.fit_layers([store_path(store) for store in stores], **call)
    assert torch.equal(again[1].W_dec, dictionaries[1].W_dec)


def store_path(store):
    return store.path


STORES = [
    ({"lm": []}, "lm is a list, expected a language model, or one or more stores"),
    ({"lm": [3]}, "lm is a list, expected a language model, or one or more stores"),
    ({"texts": ["river"]}, "texts belongs to the extraction of stores"),
    ({"tokens": 99}, "tokens belongs to the extraction of stores"),
    ({"drop": ()}, "drop belongs to the extraction of stores"),
    ({"twice": True}, "lm has stores of the layers 2, 2, expected one store a layer"),
]


@pytest.mark.parametrize(("change", "message"), STORES)
def test_stores_are_refused_with_arguments_of_an_extraction(lm, tmp_path, change, message):
    call = {"context_length": 16, "device": "cpu", "progress": False}
    with sdl.extract(lm, documents(60), layer=2, out=tmp_path / "a.h5", tokens=50, **call) as store:
        stores = [store, store] if change.pop("twice", False) else [store]
        with pytest.raises(ValueError, match=message):
            sdl.fit_layers(**{"lm": stores, **TOPK, **change})


def test_autoencoders_are_fitted_to_the_residual_stream(lm):
    (sae,) = sdl.fit_layers(lm, documents(60), layers=2, pair="sae", **READING, **TOPK)
    assert sae.provenance["activations"]["where"] == {"layer": 2, "place": "residual"}
    with sdl.splice(lm, dictionary=sae):
        spliced_logits = logits(lm)
    with sdl.splice(lm, 2, sae):
        assert torch.equal(spliced_logits, logits(lm))


def test_a_dictionary_of_the_set_knows_its_layer(lm, transcoders, tmp_path):
    assert [one.provenance["activations"]["where"]["layer"] for one in transcoders] == [1, 2, 3, 4]
    transcoders[1].save(tmp_path / "run")
    with sdl.splice(lm, dictionary=sdl.load(tmp_path / "run")):
        spliced_logits = logits(lm)
    with sdl.splice(lm, 2, transcoders[1]):
        assert torch.equal(spliced_logits, logits(lm))
    assert not torch.equal(spliced_logits, logits(lm))
    pages = sdl.contexts(transcoders[2], lm, documents(60), [1], context_length=16, progress=False)
    assert "MLP of block 3" in str(pages)


def test_another_language_model_is_warned_of(lm, transcoders, tmp_path):
    save_tiny_llama(tmp_path / "other")
    other = load_whole(tmp_path / "other")
    with pytest.warns(UserWarning, match=r"the dictionary was fitted on .*lm, and the language model is .*other"):
        sdl.contexts(transcoders[2], other, documents(60), 1, context_length=16, progress=False)
    with pytest.warns(UserWarning, match="the language model is"), sdl.splice(other, dictionary=transcoders[2]):
        pass
    with no_warning(), sdl.splice(lm, dictionary=transcoders[2]):
        pass


def test_the_command_writes_a_run_for_each_layer_and_the_set(command):
    _, out = command
    assert {path.name for path in out.iterdir()} == {"circuit_tracer", *(f"layer_{n}" for n in range(1, BLOCKS + 1))}
    assert yaml.safe_load((out / "circuit_tracer/config.yaml").read_text())["model_name"] == "tiny"
    for layer in range(BLOCKS):
        ours = sdl.load(out / f"layer_{layer + 1}")
        assert (ours.pair, ours.settings["activation"]) == ("transcoder", "jumprelu")
        theirs = load_file(out / f"circuit_tracer/layer_{layer}.safetensors")
        for name in ("W_enc", "W_dec", "b_enc", "b_dec"):
            assert torch.equal(theirs[name], getattr(ours, name))
        # compute as circuit-tracer does
        x = np.random.default_rng(layer).standard_normal((50, D)).astype(np.float32)
        pre = torch.from_numpy(x) @ theirs["W_enc"].T + theirs["b_enc"]
        latents = pre * (pre > theirs["activation_function.threshold"])
        assert np.allclose(latents, ours.encode(x), atol=1e-5)


def counted(monkeypatch):
    """Return a list that collects the checkpoint of each training from now on."""
    trained, once = [], Fit._compute
    monkeypatch.setattr(Fit, "_compute", lambda self, *args: trained.append(args[3]) or once(self, *args))
    return trained


def test_a_set_that_was_cut_off_goes_on(command, monkeypatch, capsys):
    call, out = command
    before = [sdl.load(out / f"layer_{layer}").W_dec for layer in range(1, BLOCKS + 1)]
    (out / "layer_3/config.json").unlink()
    trained = counted(monkeypatch)
    main(call)
    assert [keep.path for keep in trained] == [out / "layer_3/checkpoint.safetensors"]
    assert all(torch.equal(sdl.load(out / f"layer_{n}").W_dec, old) for n, old in enumerate(before, start=1))
    assert capsys.readouterr().out.count("Dictionary(transcoder, jumprelu") == BLOCKS
    # another set does not overwrite this one
    trained.clear()
    with pytest.raises(SystemExit):
        main([*call, "--seed", "1"])
    assert "layer_1 belongs to a different run (seed 0, here 1). Open it with sdl.load(" in capsys.readouterr().err
    assert not trained


@pytest.mark.parametrize("beside_runs", [True, False])
def test_activations_of_a_killed_call_are_removed(lm, tmp_path, monkeypatch, beside_runs):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    out = tmp_path / "set" if beside_runs else None
    call = {"layers": [2], "out": out, **READING, **TOPK}

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)  # a killed process does not tidy up
        patch.setattr(Fit, "_compute", killed)
        with pytest.raises(KeyboardInterrupt):
            sdl.fit_layers(lm, documents(60), **call)
    (folder,) = (out or tmp_path).glob("*.part")
    assert any(folder.iterdir())
    sdl.fit_layers(lm, documents(60), **call)
    assert not folder.exists()
    assert not list((out or tmp_path).glob("*.part"))


def test_a_layer_is_finished_for_the_same_model_alone(lm, tmp_path, monkeypatch):
    trained = counted(monkeypatch)
    changed = copy.deepcopy(lm)
    changed.model.layers[0].mlp.up_proj.weight.data[0, 0] += 1
    for _ in range(2):
        sdl.fit_layers(lm, documents(60), layers=[2], out=tmp_path, **READING, **TOPK)
        assert len(trained) == 1
    with pytest.raises(ValueError, match=r"layer_2 belongs to a different run \(other model\)"):
        sdl.fit_layers(changed, documents(60), layers=[2], out=tmp_path, **READING, **TOPK)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--activation", "abstopk", "--k", "4"],
            "circuit-tracer cannot express an abstopk transcoder: its loaders know relu",
        ),
        (["--pair", "sae"], "circuit-tracer cannot express a relu autoencoder: it opens transcoders"),
        (["--layers", "1", "2"], "--layers goes without --to circuit_tracer: a set has all layers"),
    ],
)
def test_what_the_library_cannot_express_is_refused_before_the_model_is_opened(options, message, tmp_path, capsys):
    out = tmp_path / "set"
    with pytest.raises(SystemExit):
        main(["fit-layers", "--model", "none", "--text", "n", "--out", str(out), "--to", "circuit_tracer", *options])
    assert message in capsys.readouterr().err
    assert not out.exists()


OTHER = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(BPE({"b": 0}, [])), eos_token="b")
"""A tokenizer that lacks the text's words."""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": [2, 5]}, "layer must be between 1 and 4"),
        ({"pair": "crosscoder"}, "pair must be transcoder or sae"),
        ({"activation": "topk"}, "activation topk needs k"),
        ({"anchors": np.eye(D)}, "unknown run settings: anchors"),
        ({"context_length": 64, "tokens": 0}, "too short for one context of 64 tokens"),
        ({"context_length": 65}, "context_length must be between 2 and the model's 64"),
        (
            {"texts": ["a" * 100], "tokenizer": OTHER},
            r"^the texts: too short for .* 16 tokens; .* the tokenizer of this",
        ),
    ],
)
def test_what_is_wrong_is_named_before_anything_is_trained(lm, options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        sdl.fit_layers(lm, **{"texts": documents(60), "out": tmp_path / "set", **READING, **SETTINGS, **options})
    assert not (tmp_path / "set").exists()
