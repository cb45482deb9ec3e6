"""Dictionaries that a library cannot express are rejected by name, and no partial files remain."""

import json

import pytest
import torch
import yaml
from safetensors.torch import load_file

import sdlcore as sdl
from sdlcore.errors import RefusedError
from sdlcore.interop.export import export
from sdlcore.interop.formats import FILES
from sdlcore.storage import files
from tests.interop.models import model_of

REFUSALS = [
    (
        "topk transcoder with a skip connection",
        "saelens",
        "its transcoders with a skip connection are relu or jumprelu",
    ),
    (
        "topk crosscoder",
        "saelens",
        "SAELens cannot express this topk crosscoder: it has no class for crosscoders; save",
    ),
    ("relu transcoder", "dictionary_learning", "it has no class for a transcoder; save it"),
    ("topk crosscoder", "dictionary_learning", "its fork's crosscoders are relu or batchtopk; train it with activatio"),
    ("relu crosscoder", "dictionary_learning", "crosscoders have sites of one width, found 24, 32; save"),
    ("gated", "sparsify", "its dictionaries keep the k largest latents of a sample"),
    ("topk transcoder to another width", "sparsify", "inputs and targets must have one width, found 24 and 32"),
    ("relu", "circuit_tracer", "it opens transcoders, from a layer's"),
    ("gated transcoder", "circuit-tracer", "its loaders know relu, jumprelu and topk; train it with activation batch"),
    ("posterior codes", "dictionary_learning", "its codes come from a search; fit"),
    ("lista", "dictionary_learning", "cannot express this lista autoencoder"),
]


@pytest.mark.parametrize(("kind", "name", "message"), REFUSALS)
def test_a_refusal_names_dictionary_library_and_what_to_do(kind, name, message, tmp_path):
    with pytest.raises(RefusedError, match=message):
        export(model_of(kind), name, tmp_path / "out")
    assert not any(tmp_path.iterdir())


def test_the_class_of_sdlcore_is_written_only_where_saelens_has_none(tmp_path):
    def architecture(kind):
        return json.loads((export(model_of(kind), "saelens", tmp_path / kind) / "cfg.json").read_text())["architecture"]

    ours = ("posterior codes", "lista", "matching pursuit", "topk transcoder")
    assert {architecture(kind) for kind in ours} == {"sdlcore.saelens"}
    assert [architecture(kind) for kind in ("topk", "batchtopk", "relu transcoder")] == [
        "topk",
        "jumprelu",
        "transcoder",
    ]


@pytest.mark.parametrize(
    ("kind", "tensor", "value", "message"),
    [
        ("batchtopk", "sigma.threshold", -1, "it has no threshold before its first training batch; train it"),
        ("relu", "b_dec", torch.nan, r"b_dec\[0\] is nan; train it again"),
    ],
)
def test_weights_that_no_training_leaves_are_refused(kind, tensor, value, message, tmp_path):
    model = model_of(kind)
    model.state_dict()[tensor].fill_(value)
    with pytest.raises(RefusedError, match=message):
        export(model, "saelens", tmp_path / "out")


@pytest.mark.parametrize(
    ("kinds", "name", "message"),
    [
        (["relu transcoder", "relu"], "circuit_tracer", "layer 2: circuit-tracer cannot express this relu autoencoder"),
        (["topk transcoder", "relu transcoder"], "circuit_tracer", "must share width, number of latents, skip"),
        (["topk"], "saelens", "saelens needs a folder for each dictionary; export one by one"),
    ],
)
def test_what_is_no_set_is_refused(kinds, name, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        sdl.export_set([sdl.Dictionary(model_of(kind)) for kind in kinds], name, tmp_path / "out")
    assert not any(tmp_path.iterdir())


def test_a_topk_set_says_its_k_and_which_loaders_read_it(tmp_path):
    models = [model_of("topk transcoder"), model_of("topk transcoder", seed=1)]
    with pytest.warns(UserWarning, match="circuit-tracer opens these TopK transcoders from a repository at the hub"):
        folder = export(models, "circuit_tracer", tmp_path / "set", model_name="gpt2")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert (config["activation"], config["k"], config["model_kind"]) == ("topk", models[0].config.k, "transcoder_set")
    assert load_file(folder / "layer_0.safetensors").keys() == {"W_enc", "W_dec", "b_enc", "b_dec"}


def test_a_set_has_a_transcoder_for_each_layer_and_all_are_of_one_kind(tmp_path):
    models = [model_of("relu transcoder"), model_of("batchtopk transcoder", seed=1)]
    folder = export(models, "circuit-tracer", tmp_path / "set", model_name="gpt2")
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.yaml",
        "layer_0.safetensors",
        "layer_1.safetensors",
    ]
    # a smaller set must not keep a layer of the larger one
    with pytest.raises(
        ValueError, match=r"set: contains layer_1.safetensors of another dictionary; choose another folder"
    ):
        export(models[0], "circuit_tracer", folder)


def test_an_export_replaces_an_earlier_one_and_leaves_other_files_alone(tmp_path):
    folder = export(model_of("topk"), "saelens", tmp_path / "out")
    (folder / "README.md").write_text("mine")
    before = (folder / "sae_weights.safetensors").read_bytes()
    export(model_of("topk", seed=5), "saelens", folder)
    assert (folder / "README.md").read_text() == "mine"
    assert (folder / "sae_weights.safetensors").read_bytes() != before
    with pytest.raises(ValueError, match=r"out: contains sae_weights\.safetensors of another dictionary"):
        export(model_of("topk"), "sparsify", folder)


@pytest.mark.parametrize(
    ("kind", "name"),
    [("topk", "saelens"), ("topk", "dictionary_learning"), ("topk", "sparsify"), ("relu transcoder", "circuit_tracer")],
)
def test_an_export_that_breaks_off_leaves_no_folder_that_looks_finished(kind, name, tmp_path, monkeypatch):
    folder = export(model_of(kind), name, tmp_path / name)
    monkeypatch.setattr(files.os, "fsync", lambda _: (_ for _ in ()).throw(OSError("the disk is gone")))
    with pytest.raises(OSError, match="the disk is gone"):
        export(model_of(kind), name, folder)
    assert FILES[name][-1] not in {path.name for path in folder.iterdir()}
    assert not any(path.name.startswith(".") for path in folder.iterdir())
