"""Released dictionaries open by the names of SAELens' list, through SAELens' loaders."""

import json
import os
import subprocess
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError

import sdlcore as sdl
from sdlcore.interop.export import export
from sdlcore.interop.saelens import write
from tests.conftest import REPOSITORY
from tests.interop.models import model_of, samples
from tests.interop.test_load import fake_hub

PYTHON = REPOSITORY / "cache/environments/saelens/bin/python"
NAME, DICTIONARY = "some-release-res", "blocks.2.hook_resid_post"


@pytest.fixture
def saelens(monkeypatch):
    """A stand-in of SAELens with a release, whose ``from_pretrained`` returns what ``loaded`` holds, or raises it."""
    modules = {name: ModuleType(name) for name in ("sae_lens", "sae_lens.loading")}
    directory = modules["sae_lens.loading.pretrained_saes_directory"] = ModuleType("pretrained_saes_directory")
    modules["sae_lens"].__spec__ = ModuleSpec("sae_lens", None)
    here = SimpleNamespace(loaded=None)

    def load(release, dictionary, device):
        if isinstance(here.loaded, Exception):
            raise here.loaded
        cfg, state = here.loaded
        return SimpleNamespace(cfg=SimpleNamespace(to_dict=lambda: {"metadata": {}} | cfg), state_dict=lambda: state)

    modules["sae_lens"].SAE = SimpleNamespace(from_pretrained=load)
    directory.get_pretrained_saes_directory = lambda: {NAME: None}
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return here


def files_of(model, folder):
    """Return the configuration and the weights of a SAELens folder, as a loader does."""
    from safetensors.torch import load_file

    files = write(model, model_name="gpt2", hook_name=DICTIONARY)
    for name, one in files.items():
        one(folder / name)
    return json.loads((folder / "cfg.json").read_text()), load_file(folder / "sae_weights.safetensors")


def test_a_release_opens_by_name_with_its_place(saelens, tmp_path):
    model, x = model_of("jumprelu"), samples("jumprelu")
    saelens.loaded = files_of(model, tmp_path)
    dictionary = sdl.load(NAME, subfolder=DICTIONARY)
    assert torch.equal(dictionary(x), model(x).x_hat)
    facts = {"release": NAME, "dictionary": DICTIONARY, "model_name": "gpt2", "hook_name": DICTIONARY}
    assert dictionary.provenance["imported"] == facts
    assert "layer 3 (blocks.2.hook_resid_post)" in repr(dictionary)


@pytest.mark.parametrize(
    ("name", "dictionary", "loaded", "message"),
    [
        (
            "some-release-ress",
            DICTIONARY,
            None,
            "OWNER/NAME at the hub, nor a release that SAELens lists; did you mean",
        ),
        (
            NAME,
            "",
            ValueError("ID  not found. Valid IDs are ..."),
            f"{NAME}: .*; give an id of SAELens' list as subfolder",
        ),
        (NAME, DICTIONARY, LocalEntryNotFoundError("no"), f"{NAME}: .*LocalEntryNotFoundError"),
        (
            NAME,
            DICTIONARY,
            ({"architecture": "temporal", "d_in": 24}, {}),
            "architecture is 'temporal', expected one of standard",
        ),
        (NAME, DICTIONARY, ({"architecture": "standard", "d_in": 24}, {}), "lacks the tensors"),
    ],
)
def test_a_release_that_cannot_be_opened_is_one_sentence(saelens, name, dictionary, loaded, message):
    saelens.loaded = loaded
    with pytest.raises(ValueError, match=message):
        sdl.load(name, subfolder=dictionary)


@pytest.mark.interop
def test_releases_compute_here_what_they_do_in_saelens(tmp_path):
    hub = tmp_path / "hub/models"
    export(model_of("relu"), "saelens", hub / "jbloom/GPT2-Small-SAEs-Reformatted/blocks.8.hook_resid_pre")
    scaled = hub / "tommmcgrath/gpt2-small-mlp-out-saes/sae_group_gpt2_blocks.1.hook_mlp_out_24576:v0"
    export(model_of("relu"), "saelens", scaled, hook_name="blocks.1.hook_mlp_out")
    cfg = json.loads((scaled / "cfg.json").read_text())
    (scaled / "cfg.json").write_text(json.dumps(cfg | {"normalize_activations": "expected_average_only_in"}))
    environment = {"HF_HOME": str(tmp_path / "cache"), "PATH": os.environ["PATH"]}
    with fake_hub(tmp_path / "hub") as address:
        command = [str(PYTHON), str(REPOSITORY / "tests/interop/releases.py")]
        done = subprocess.run(command, env=environment | {"HF_ENDPOINT": address}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    output = json.loads(done.stdout.splitlines()[-1])
    assert len(output["dictionaries"]) == 2
    for name, its in output["dictionaries"].items():
        assert its["active"] > 1, name
        assert max(its["latents"], its["outputs"]) < 1e-4, name
    assert "blocks.1.hook_mlp_out" in output["dictionaries"]["gpt2-small-mlp-tm"]["repr"]
    unknown, dictionary, missing = output["errors"]
    assert "nor a release that SAELens lists; did you mean gpt2-small-res-jb?" in unknown
    assert "Valid IDs are ['blocks.0.hook_resid_pre', " in dictionary
    assert missing.startswith("gpt2-small-attn-out-v5-32k: ")
