"""Two runs are the same run, or an error names the first difference; and no default changes without being noticed."""

import json
from contextlib import nullcontext

import numpy as np
import pytest

import sdlcore as sdl
from peers.settings import PeerConfig
from sdlcore.benches.config import BenchFeatures, BenchSamples, SaelensSource, SynthSource
from sdlcore.config import Config
from sdlcore.errors import SourceError
from sdlcore.extraction.config import ClipSource, LanguageSource
from sdlcore.identity import NUMBERS, finished_files, identity, log_other_computer, provenance, require_same
from sdlcore.interop.settings import ImportConfig
from sdlcore.plugins.registry import registered
from sdlcore.settings import Settings
from sdlcore.solvers.settings import SolverConfig
from sdlcore.sources.files.settings import FileSource
from sdlcore.sources.plugins.settings import PluginSource
from sdlstudy.settings.codes import CodesConfig
from tests.conftest import REPOSITORY

DEFAULTS = REPOSITORY / "tests/defaults.json"
"""The defaults of all settings by stage and class."""
CLASSES: dict[str, list[type[Settings]]] = {
    "train": [Config],
    "solve": [SolverConfig],
    "codes": [CodesConfig],
    "peer": [PeerConfig],
    "import": [ImportConfig],
    "feature_matrix": [BenchFeatures],
    "samples": [BenchSamples, SynthSource, SaelensSource],
    "activations": [LanguageSource, ClipSource, FileSource, PluginSource],
}
RUN = identity("train", {"k": 4}, 0, {"store": "a" * 64, "anchors": None})


def defaults_of(cls):
    fields = {name: field for name, field in cls.model_fields.items() if not field.is_required()}
    return json.loads(json.dumps({name: field.get_default() for name, field in fields.items()}))


def test_a_default_that_changes_is_noticed():
    """A run is known by the settings that differ from the defaults, so another default needs another number."""
    now = {stage: {cls.__name__: defaults_of(cls) for cls in classes} for stage, classes in CLASSES.items()}
    pinned = json.loads(DEFAULTS.read_text())
    for stage, classes in now.items():
        for name, defaults in classes.items():
            for setting in pinned[stage][name].keys() & defaults.keys():
                assert defaults[setting] == pinned[stage][name][setting], f"raise NUMBERS[{stage!r}]: {name}.{setting}"
    assert now == pinned, f"settings were added or removed: write them into {DEFAULTS}"


def test_an_identity_has_what_the_run_has():
    assert {
        "stage": "train",
        "number": NUMBERS["train"],
        "settings": {"k": 4},
        "seed": 0,
        "inputs": {"store": "a" * 64},
    } == RUN
    assert identity("theory", {}) == {"stage": "theory", "number": NUMBERS["theory"]}
    assert identity("solve", {}, 1, plugins={"own": "digest"})["plugins"] == {"own": "digest"}
    assert identity("train", {"sizes": (1, 2)})["settings"] == {"sizes": [1, 2]}, "as JSON holds it"
    with pytest.raises(KeyError):
        identity("traning", {})


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, ""),
        ({"seed": 1}, "seed is 0, here 1"),
        ({"settings": {"k": 5, "lr": 1}}, "k is 4, here 5"),
        ({"settings": {"k": 4, "lr": 1}}, "lr is 0.001, here 1"),
        ({"settings": {"k": 4, "new": 1}}, "new is missing, here 1"),
        ({"settings": {"k": 4, "new": {}}}, "new is missing, here {}"),
        ({"settings": {"k": 4, "lr": None}}, "lr is 0.001, here None"),
        ({"inputs": {"store": "b" * 64}}, f"inputs.store is {'a' * 59}…, here {'b' * 59}…"),
        ({"plugins": {"own": "c"}}, "plugins.own is missing, here c"),
        ({"number": 9, "seed": 1}, f"NUMBERS['train'] is {NUMBERS['train']}, here 9"),
        ({"stage": "solve"}, "stage is train, here solve"),
    ],
)
def test_the_first_difference_is_named_with_both_values(change, expected):
    made, asked = {"identity": RUN, "settings": {"lr": 0.001, "k": 4}}, {"identity": RUN | change}
    with pytest.raises(SourceError) if expected else nullcontext() as error:
        require_same("place", made, asked)
    if expected:
        assert str(error.value) == f"place belongs to another run: {expected}. Delete it, or choose another folder."


def test_what_computed_a_run_is_recorded_and_a_difference_is_logged(caplog):
    facts = provenance(seed=3, device="cpu")
    assert facts["seed"] == 3
    assert {"python", "torch", "numpy", "h5py"} <= facts["versions"].keys()
    log_other_computer("place", facts, provenance(device="cpu"))
    assert not caplog.text
    log_other_computer("place", facts | {"versions": {"torch": "1"}, "package": "x"}, provenance(device="cuda"))
    torch = facts["versions"]["torch"]
    assert (
        f"place was computed with torch 1 (here {torch}), device cpu (here cuda), other code of sdlcore" in caplog.text
    )


def test_finished_files_of_the_same_run_are_found_and_others_passed_over(tmp_path):
    files = {
        "a": {"identity": RUN},
        "b": {"provenance": {"identity": RUN}},
        "c": {"identity": RUN | {"seed": 1}},
        "d": [],
    }
    for name, content in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    (tmp_path / "e.json").write_text("[" * 10**5)
    assert [path.stem for path in finished_files(str(tmp_path / "*.json"), RUN)] == ["a", "b"]


PLUGIN = """
import sdlcore as sdl
from sdlcore.model.activations.topk import TopK

@sdl.activation("edited")
class Edited(TopK):
    pass
"""


def test_the_digest_of_a_plugins_file_is_the_plugins(tmp_path, monkeypatch, registry):
    (tmp_path / "edited_plugin.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    import edited_plugin  # noqa: F401

    x, settings = np.eye(8, dtype=np.float32), {"activation": "edited", "k": 2, "n_q": 8, "steps": 1, "batch_size": 4}
    run = sdl.fit(x, progress=False, **settings).provenance["identity"]
    assert run["plugins"] == {"edited": registered("activation", "edited").digest}
    assert "plugins" not in sdl.fit(x, progress=False, **settings | {"activation": "topk"}).provenance["identity"]


if __name__ == "__main__":
    content = {stage: {cls.__name__: defaults_of(cls) for cls in classes} for stage, classes in CLASSES.items()}
    DEFAULTS.write_text(json.dumps(content, indent=1) + "\n")
