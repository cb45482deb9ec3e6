"""config.json of a pretrained folder names architecture, model and hooks as the field does."""

import json

import pytest

import sdlcore as sdl
from sdlcore.dictionary.card import config_of
from tests.interop.models import model_of


@pytest.mark.parametrize(
    ("kind", "architecture"),
    [
        ("jumprelu", "jumprelu"),
        ("lista", "lista"),
        ("posterior codes", "posterior"),
        ("topk transcoder", "topk_transcoder"),
        ("relu transcoder with a skip connection", "relu_skip_transcoder"),
        ("relu crosscoder", "relu_crosscoder"),
    ],
)
def test_the_architecture_is_one_word(kind, architecture):
    assert config_of(model_of(kind), {})["architecture"] == architecture


@pytest.mark.parametrize(
    ("kind", "where", "hooks"),
    [
        ("topk", {"layer": 12, "place": "residual"}, ("blocks.11.hook_resid_post", None)),
        ("topk", {"layer": 9, "place": "mlp_output"}, ("blocks.8.hook_mlp_out", None)),
        ("topk", {"layer": 9, "place": "block.mlp.fc:output"}, (None, None)),
        ("topk transcoder", {"layer": 9, "place": "mlp"}, ("blocks.8.mlp.hook_in", "blocks.8.hook_mlp_out")),
        ("topk transcoder", {"layer": [3, 4], "place": None}, ("blocks.2.hook_resid_post", "blocks.3.hook_resid_post")),
        ("relu crosscoder", {"layer": (1, 2), "place": None}, ([f"blocks.{i}.hook_resid_post" for i in (0, 1)], None)),
    ],
)
def test_hooks_are_those_of_the_recorded_place(kind, where, hooks):
    provenance = {"activations": {"where": where, "model": {"name": "gpt2"}}}
    config = config_of(model_of(kind), provenance)
    assert (config["hook_name"], config["hook_name_out"], config["model_name"]) == (*hooks, "gpt2")
    hooks_of_input = [hook for hook in ([hooks[0]] if isinstance(hooks[0], str) else hooks[0] or []) if hook]
    assert all(hook in repr(sdl.Dictionary(model_of(kind), provenance)) for hook in hooks_of_input)


def test_an_export_to_saelens_has_the_hook_of_the_provenance(tmp_path):
    provenance = {"activations": {"where": {"layer": 9, "place": "mlp"}}}
    folder = sdl.export(sdl.Dictionary(model_of("relu transcoder"), provenance), "saelens", tmp_path)
    metadata = json.loads((folder / "cfg.json").read_text())["metadata"]
    assert (metadata["hook_name"], metadata["hook_name_out"]) == ("blocks.8.mlp.hook_in", "blocks.8.hook_mlp_out")
    sdl.export(sdl.Dictionary(model_of("relu transcoder"), provenance), "saelens", tmp_path, hook_name="mine")
    assert json.loads((folder / "cfg.json").read_text())["metadata"]["hook_name"] == "mine"


def test_activations_that_are_no_language_models_have_no_hook():
    provenance = {"activations": {"source": {"model": "ViT-B-32"}}}
    assert config_of(model_of("topk"), provenance)["hook_name"] is None
    assert repr(sdl.Dictionary(model_of("topk"), provenance)).endswith("n_r=24)")
