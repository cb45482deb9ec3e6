"""A folder's files determine its format; damaged files and files of another kind are named."""

import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from sdlcore.interop.export import export
from sdlcore.interop.formats import FILES, READ
from sdlcore.interop.load import load
from sdlcore.model.saving import save_model
from tests.extraction.fake_hub import fake_hub
from tests.interop.models import agreement, model_of, samples


@torch.no_grad()
def assert_same(model, other, kind):
    x = samples(kind)
    same, error = agreement((model(x).latents(), model(x).x_hat), (other(x).latents(), other(x).x_hat))
    assert same == len(x)
    assert error < 1e-5


def plain(kind):
    """Return the tensors of a dictionary in the layouts of SAELens and Gemma Scope."""
    state = model_of(kind).state_dict()
    tensors = {name: state[name] for name in ("b_enc", "W_dec", "b_dec")} | {"W_enc": state["W_enc"].T.contiguous()}
    return tensors | ({"threshold": state["sigma.threshold"]} if "sigma.threshold" in state else {})


def test_files_and_runs_of_sdlcore_are_opened(tmp_path):
    (tmp_path / "run").mkdir()
    save_model(tmp_path / "run/model.safetensors", model_of("topk crosscoder"), {})
    save_model(tmp_path / "mine.safetensors", model_of("posterior codes"), {})
    assert_same(model_of("topk crosscoder"), load(tmp_path / "run"), "topk crosscoder")
    assert_same(model_of("posterior codes"), load(tmp_path / "mine.safetensors"), "posterior codes")


def test_a_matching_pursuit_of_saelens_is_opened_unless_it_stops_early(tmp_path):
    model = model_of("matching pursuit")
    early = {"architecture": "matching_pursuit", "d_in": model.W_dec.shape[1], "max_iterations": model.config.k}
    cfg = early | {"residual_threshold": 0.0, "stop_on_duplicate_support": False}
    save_file({"W_dec": model.W_dec.detach(), "b_dec": model.b_dec.detach()}, tmp_path / "sae_weights.safetensors")
    (tmp_path / "cfg.json").write_text(json.dumps(cfg))
    assert_same(model, load(tmp_path), "matching pursuit")
    (tmp_path / "cfg.json").write_text(json.dumps(early))
    with pytest.raises(ValueError, match="its matching pursuit stops early"):
        load(tmp_path)


@pytest.mark.parametrize("name", READ)
def test_a_file_of_a_folder_stands_for_the_folder(name, tmp_path):
    folder = export(model_of("topk"), name, tmp_path / "out")
    for file in FILES[name]:
        assert_same(model_of("topk"), load(folder / file), "topk")


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
@pytest.mark.parametrize("kind", ["relu", "topk", "jumprelu", "batchtopk", "relu transcoder to another width"])
def test_plain_tensors_are_opened_once_their_settings_are_passed(kind, suffix, tmp_path):
    file = tmp_path / f"weights.{suffix}"
    if suffix == "npz":
        np.savez(file, **{name: value.numpy() for name, value in plain(kind).items()})
    else:
        save_file(plain(kind), file)
    settings = {} if kind == "jumprelu" else {"activation": kind.split()[0]}
    if kind in ("topk", "batchtopk"):
        with pytest.raises(ValueError, match=f"does not contain k; give k, which activation {kind} needs"):
            load(file, **settings)
        settings["k"] = 6
    if settings and "threshold" not in plain(kind):
        with pytest.raises(ValueError, match="does not contain its activation; give activation, such as topk with k"):
            load(file)
    assert_same(model_of(kind), load(file, **settings), kind)


def test_plain_tensors_that_fit_two_layouts_need_the_layout(tmp_path):
    file = tmp_path / "square.safetensors"
    model = model_of("relu", n_q=24)
    save_file({name: model.state_dict()[name] for name in ("W_enc", "W_dec", "b_enc")}, file)
    with pytest.raises(ValueError, match=r"\(24, 24\) match several layouts; give layout, one of by_latent, "):
        load(file, activation="relu")
    state = load(file, activation="relu", layout="by_latent").state_dict()
    assert torch.equal(state["W_enc"], model.W_enc)
    assert not state["b_dec"].any()
    for layout, encoder, decoder in (("saelens", True, False), ("linear", False, True)):
        coder = load(file, activation="relu", layout=layout)
        assert torch.equal(coder.W_enc, model.W_enc.T if encoder else model.W_enc)
        assert torch.equal(coder.W_dec, model.W_dec.T if decoder else model.W_dec)


@pytest.mark.parametrize(("library", "layout"), [("circuit_tracer", "by_latent"), ("saelens", "saelens")])
def test_plain_tensors_have_the_linear_path_as_libraries_keep_it(library, layout, tmp_path):
    kind = "relu transcoder with a skip connection"
    file = export(model_of(kind), library, tmp_path / "out") / {"saelens": "sae_weights"}.get(library, "layer_0")
    assert_same(
        model_of(kind), load(file.with_suffix(".safetensors"), "tensors", activation="relu", layout=layout), kind
    )


def test_plain_tensors_may_subtract_the_bias_and_have_one_threshold(tmp_path):
    tensors = plain("relu")
    save_file(tensors, tmp_path / "a.safetensors")
    x = samples("relu")
    latents = load(tmp_path / "a.safetensors", threshold=0.7, apply_b_dec_to_input=True).encode(x)
    pre = (x - tensors["b_dec"]) @ tensors["W_enc"] + tensors["b_enc"]
    assert torch.allclose(latents, torch.where(pre > 0.7, pre, 0.0), atol=1e-5)


BAD = [
    ("saelens", {"d_sae": 95}, {}, r"W_dec has shape \(96, 24\), expected \(n_q = 95, n_r = 24\)"),
    ("saelens", {"apply_b_dec_to_input": "perhaps"}, {}, "apply_b_dec_to_input: Input should be a valid boolean"),
    ("saelens", {"normalize_activations": "expected_average_only_in"}, {}, "which is not in the weights; fold it into"),
    ("saelens", {"reshape_activations": "hook_q"}, {}, "reshape_activations: Input should be 'none' or 'hook_z'"),
    ("saelens", {"architecture": "temporal"}, {}, "architecture is 'temporal', expected one of standard"),
    ("saelens", {"architecture": "jumprelu"}, {}, "lacks the tensors threshold"),
    ("saelens", {"architecture": ...}, {}, "lacks architecture, but contains k"),
    ("saelens", {"activation_fn_str": "tanh-relu"}, {}, "'tanh-relu' is not supported; expected relu or topk"),
    ("saelens", {}, {"scaling_factor": torch.full((96,), 2.0)}, "scaling_factor contains numbers other than 1"),
    ("saelens", {}, {"W_gate": torch.zeros(3)}, "contains unknown tensors W_gate, expected"),
    ("saelens", {}, {"b_dec": torch.full((24,), 1e300, dtype=torch.float64)}, "or numbers too large for float32"),
    ("sparsify", {"embed_skip": True}, {}, "sets embed_skip, which is not supported"),
    ("sparsify", {"activation": "groupmax"}, {}, "activation: Input should be 'topk', found 'groupmax'"),
    ("dictionary_learning", {"dict_class": "IdentityDict"}, {}, "is 'IdentityDict', expected one of AutoEncoder"),
    ("dictionary_learning", {"k": 5}, {}, r"config\.json: k is 5, but k is 6 in ae\.pt"),
]


@pytest.mark.parametrize(("name", "settings", "tensors", "message"), BAD)
def test_a_folder_that_would_compute_something_else_is_refused(name, settings, tensors, message, tmp_path):
    folder = export(model_of("topk"), name, tmp_path / "out")
    weights, config = (folder / file for file in FILES[name])
    content = json.loads(config.read_text())
    part = content["trainer"] if name == "dictionary_learning" else content
    for key, value in settings.items():
        part.pop(key) if value is ... else part.update({key: value})
    config.write_text(json.dumps(content))
    state = torch.load(weights) if name == "dictionary_learning" else load_file(weights)
    (torch.save if name == "dictionary_learning" else save_file)(state | tensors, weights)
    with pytest.raises(ValueError, match=message):
        load(folder)


@pytest.mark.parametrize(
    ("tensors", "options", "message"),
    [
        (plain("topk") | {"k": torch.tensor(3)}, {"activation": "topk", "k": 4}, "contains k; leave out k"),
        (plain("jumprelu"), {"threshold": 0.7}, "contains threshold; leave out threshold"),
        (plain("jumprelu"), {"activation": "relu"}, "activation relu has no threshold; leave it out, or take jumprelu"),
        ({"W_enc": torch.zeros(4, 9)}, {"activation": "relu"}, "lacks the tensors W_dec, found W_enc"),
    ],
)
def test_plain_tensors_that_do_not_fit_are_refused(tensors, options, message, tmp_path):
    save_file(tensors, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match=message):
        load(tmp_path / "a.safetensors", "tensors", **options)


def test_a_folder_of_no_format_or_of_several_is_named(tmp_path):
    message = r"contains no dictionary in a known format \(sdlcore: model.safetensors; .*; sparsify: sae\.safetensors"
    with pytest.raises(ValueError, match=message):
        load(tmp_path)
    export(model_of("topk"), "sparsify", tmp_path / "layers.0.mlp")
    with pytest.raises(ValueError, match=r"dictionaries in folders .layers\.0\.mlp.; give one of these folders"):
        load(tmp_path)
    assert_same(model_of("topk"), load(tmp_path, subfolder="layers.0.mlp"), "topk")
    both = export(model_of("topk"), "dictionary_learning", tmp_path / "both")
    save_model(both / "model.safetensors", model_of("relu"), {})
    with pytest.raises(ValueError, match="contains dictionaries in several formats; give format, one of dictionary_"):
        load(both)
    assert_same(model_of("topk"), load(both, "dictionary_learning"), "topk")


@pytest.mark.parametrize(("name", "damage"), zip(READ, ["truncated", "empty", "not JSON"], strict=True))
def test_damaged_folders_are_refused_with_their_name(name, damage, tmp_path):
    folder = export(model_of("topk"), name, tmp_path / "out")
    weights, settings = (folder / file for file in FILES[name])
    if damage == "not JSON":
        settings.write_text("{")
    else:
        weights.write_bytes(weights.read_bytes()[:-100] if damage == "truncated" else b"")
    with pytest.raises(ValueError, match=str(folder)):
        load(folder)


class Evil:
    def __reduce__(self):
        return (os.system, ("touch stolen",))


def test_no_code_in_a_file_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = export(model_of("topk"), "dictionary_learning", tmp_path / "out")
    torch.save({"b_dec": Evil()}, folder / "ae.pt")
    with pytest.raises(ValueError, match="not readable as a dictionary of dictionary_learning"):
        load(folder)
    (folder / "ae.pt").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ValueError, match="not readable as a dictionary of dictionary_learning"):
        load(folder)
    np.savez(tmp_path / "a.npz", W_enc=np.array([Evil()], dtype=object), W_dec=np.zeros((2, 2)))
    with pytest.raises(ValueError, match="not readable as plain tensors"):
        load(tmp_path / "a.npz", activation="relu")
    assert not (tmp_path / "stolen").exists()


def test_configurations_of_saelens_before_its_version_6_are_understood(tmp_path):
    folder = export(model_of("topk"), "saelens", tmp_path / "out")
    old = {"d_in": 24, "d_sae": 96, "activation_fn_str": "topk", "activation_fn_kwargs": {"k": 6}, "hook_name": "x"}
    (folder / "cfg.json").write_text(json.dumps(old | {"apply_b_dec_to_input": False}))
    assert_same(model_of("topk"), load(folder), "topk")


@pytest.mark.parametrize("before_6", [False, None])
def test_what_saelens_wrote_for_no_normalisation_before_6_is_none(before_6, tmp_path):
    folder = export(model_of("topk"), "saelens", tmp_path / "out")
    cfg = json.loads((folder / "cfg.json").read_text())
    (folder / "cfg.json").write_text(json.dumps(cfg | {"normalize_activations": before_6}))
    assert_same(model_of("topk"), load(folder), "topk")


def test_sparsify_counts_latents_by_its_expansion_factor_where_their_number_is_zero(tmp_path):
    folder = export(model_of("topk"), "sparsify", tmp_path / "out")
    cfg = json.loads((folder / "cfg.json").read_text())
    (folder / "cfg.json").write_text(json.dumps(cfg | {"num_latents": 0, "expansion_factor": 4}))
    assert load(folder).config.n_q == 96


FROM_THE_HUB = """
from sdlcore.interop.load import load
for name, folder in (
    ("someone/saes", "blocks.0"),
    ("someone/scope", "layer_5"),
    ("someone/scope", ""),
    ("someone/scope", "layer_5/params.npz"),
    ("gpt2-small-res-jb/blocks.5", ""),
    ("gpt2-small-res-jb", "blocks.5"),
):
    try:
        print(load(name, subfolder=folder).config.activation)
    except ValueError as error:
        print(error)
"""


def test_a_dictionary_comes_from_the_hub_with_none_of_the_repositorys_other_files(tmp_path):
    repository, scope = tmp_path / "hub/models/someone/saes", tmp_path / "hub/models/someone/scope"
    export(model_of("topk"), "saelens", repository / "blocks.0")
    export(model_of("relu"), "saelens", repository / "blocks.1")
    (repository / "blocks.0/pickle.pt").write_bytes(b"")
    (scope / "layer_5").mkdir(parents=True)
    np.savez(scope / "layer_5/params.npz", **{name: value.numpy() for name, value in plain("jumprelu").items()})
    environment = os.environ | {"HF_HOME": str(tmp_path / "cache")}
    environment.pop("HF_HUB_OFFLINE", None)
    with fake_hub(tmp_path / "hub") as address:
        run = [sys.executable, "-c", FROM_THE_HUB]
        done = subprocess.run(run, env=environment | {"HF_ENDPOINT": address}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    activation, folder, top, tensors, unknown, release = done.stdout.splitlines()
    assert (activation, tensors) == ("topk", "jumprelu")
    fetched = {path.name for path in (tmp_path / "cache").rglob("models--someone--saes/snapshots/*/*/*")}
    assert fetched == {"cfg.json", "sae_weights.safetensors"}
    # the arguments for a folder of Gemma Scope, and for a name that only SAELens can resolve
    assert folder.startswith("someone/scope: the hub's repository has no dictionary in layer_5 (sdlcore: model.safete")
    assert folder.endswith(
        """for plain tensors, such as Gemma Scope's, give the file: subfolder="layer_5/params.npz\""""
    )
    assert top.startswith("someone/scope: the hub's repository has no dictionary in its top folder (")
    assert unknown.startswith("gpt2-small-res-jb/blocks.5: no such path on this machine, and the hub")
    assert 'for a release of SAELens, write its name and the id of the dictionary, load("RELEASE", sub' in unknown
    assert release == "gpt2-small-res-jb/blocks.5: neither a file or folder on this machine nor OWNER/NAME at the hub"
