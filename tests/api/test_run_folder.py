"""A run folder opens for a call with the same settings, seed and data, for any version of code and packages."""

import errno
import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

import sdlcore as sdl
from sdlcore.api import run_folder
from sdlcore.api.fitting import describe_fit
from sdlcore.api.run_folder import CHECKPOINT, CONFIG
from sdlcore.training import loop
from sdlcore.training.checkpoint import describe_checkpoint, load_checkpoint, save_checkpoint
from tests.api.test_fitting import cut_off

RUNS = Path(__file__).parent / "runs"
QUIET = {"device": "cpu", "progress": False}
SETTINGS = {"activation": "topk", "k": 2, "n_q": 8, "batch_size": 32, "steps": 20, "log_every": 5, **QUIET}
SETTINGS |= {"normalise": False, "bias": False, "resample_every": None}
SOLVED = {"solver": "kmeans", "n_atoms": 4, "support": 2, **QUIET}
"""The code that wrote `RUNS`, before run folders were opened by settings, seed and data alone."""


@pytest.fixture
def runs(tmp_path):
    return Path(shutil.copytree(RUNS, tmp_path / "runs"))


@pytest.fixture
def x():
    return np.load(RUNS / "x.npy")


def fitted(x, folder, **settings):
    """Return the dictionary and the warnings of a call."""
    with warnings.catch_warnings(record=True) as records:
        warnings.simplefilter("always")
        dictionary = sdl.fit(x, out=folder, **{**SETTINGS, **settings})
    return dictionary, [str(one.message) for one in records if "fvu" not in str(one.message)]


def changed(folder, **facts):
    """Change the provenance of a finished run."""
    dictionary = sdl.load(folder)
    dictionary.provenance |= facts
    dictionary.save(folder)


@pytest.mark.parametrize(("name", "settings"), [("finished", SETTINGS | {"resample_until": 0.8}), ("solved", SOLVED)])
def test_a_run_of_other_code_opens_with_one_warning(runs, x, name, settings):
    with pytest.warns(UserWarning, match=r"opened a finished run, computed with .*other code of sdlcore") as records:
        dictionary = sdl.fit(x, out=runs / name, **settings)
    # a file that an earlier test left open can add a ResourceWarning
    records = [one for one in records if one.category is UserWarning and "resample_until" not in str(one.message)]
    assert len(records) == 1
    assert Path(records[0].filename) == Path(__file__)
    assert np.array_equal(dictionary.W_dec, sdl.load(RUNS / name).W_dec)


def test_a_checkpoint_without_settings_is_not_overwritten(runs, x):
    before = (runs / "unfinished" / CHECKPOINT).read_bytes()
    with pytest.raises(ValueError, match=r"10 steps of a different run \(.*settings.*\)\. .* choose another folder"):
        sdl.fit(x, out=runs / "unfinished", **SETTINGS)
    assert (runs / "unfinished" / CHECKPOINT).read_bytes() == before


def test_a_finished_run_warns_of_packages_that_compute_and_of_no_others(x, tmp_path):
    first, messages = fitted(x, tmp_path / "run")
    assert not messages
    versions = first.provenance["versions"]
    others = dict.fromkeys(("python", "pillow", "h5py", "transformers"), "1.0")
    changed(tmp_path / "run", versions={**versions, **others})
    assert not fitted(x, tmp_path / "run")[1]
    changed(tmp_path / "run", versions={**versions, "torch": "1.0", "numpy": "1.1"})
    again, messages = fitted(x, tmp_path / "run")
    torch, numpy = versions["torch"], versions["numpy"]
    assert messages == [
        f"{tmp_path / 'run'}: opened a finished run, computed with numpy 1.1 (here {numpy}) and torch 1.0 (here "
        f"{torch}). A new training can differ slightly; choose another folder to train again"
    ]
    assert np.array_equal(again.W_dec, first.W_dec)
    changed(tmp_path / "run", versions=versions, device="cuda", code="other")
    assert "device cuda (here cpu) and other code of sdlcore" in fitted(x, tmp_path / "run")[1][0]


def test_a_setting_that_a_later_version_adds_makes_no_other_run(x, tmp_path):
    settings = fitted(x, tmp_path / "run")[0].provenance["settings"]
    changed(tmp_path / "run", settings={name: value for name, value in settings.items() if name != "gradient_clip"})
    assert not fitted(x, tmp_path / "run")[1]
    with pytest.raises(ValueError, match=r"a different run \(gradient_clip 1\.0, here 2\.0\)\. Open it with sdl\.load"):
        fitted(x, tmp_path / "run", gradient_clip=2.0)


def test_one_warning_tells_of_all_runs_of_a_sweep(x, tmp_path):
    sweep = {str(k): {"k": k} for k in (1, 2, 3)}
    sdl.fit_many(x, sweep, out=tmp_path, at_once=1, **SETTINGS)
    for name in sweep:
        changed(tmp_path / name, code="other")
    with pytest.warns(UserWarning, match=r"1 and 2 more: opened a finished run, computed with other code") as records:
        sdl.fit_many(x, sweep, out=tmp_path, at_once=1, **SETTINGS)
    assert len(records) == 1
    assert Path(records[0].filename) == Path(__file__)


def rewritten(path, drop="", **facts):
    """Change the facts of a checkpoint, and remove one of its tensors."""
    description = describe_checkpoint(path)
    checkpoint = load_checkpoint(path, description.identity)
    tensors = {name: tensor for name, tensor in checkpoint.tensors.items() if name != drop}
    save_checkpoint(path, description.identity, checkpoint._replace(tensors=tensors), {**description.facts, **facts})


def test_an_unfinished_run_resumes_with_other_code_and_says_so(x, tmp_path, monkeypatch):
    """Days of training outweigh a rounding difference; the saved provenance names the code of both parts."""
    folder = tmp_path / "run"
    whole, _ = fitted(x, None, checkpoint_every=5)
    cut_off(monkeypatch, x, 11, out=folder, checkpoint_every=5, **SETTINGS)
    rewritten(folder / CHECKPOINT, code="other")
    steps, once = [], loop.TrainingStep.__call__
    monkeypatch.setattr(loop.TrainingStep, "__call__", lambda self, *args: (steps.append(1), once(self, *args))[1])
    dictionary, messages = fitted(x, folder, checkpoint_every=5)
    assert len(messages) == 1
    assert "run: resumed an unfinished run, computed with other code of sdlcore" in messages[0]
    assert len(steps) == 10
    assert np.array_equal(dictionary.W_dec, whole.W_dec)
    (earlier,) = sdl.load(folder).provenance["resumed"]
    assert (earlier["until_step"], earlier["code"], earlier["device"]) == (10, "other", "cpu")
    assert dictionary.provenance["code"] == whole.provenance["code"]
    assert fitted(x, folder, checkpoint_every=5)[1] == []  # opened


def finished_from_a_start(x, folder, _):
    inputs = fitted(x, folder, checkpoint_every=5)[0].provenance["inputs"]
    changed(folder, inputs={**inputs, "start": "a digest"})


def cut_off_in_another_version(x, folder, monkeypatch):
    cut_off(monkeypatch, x, 11, out=folder, checkpoint_every=5, **SETTINGS)
    rewritten(folder / CHECKPOINT, drop="silent")


def without_settings(x, folder, _):
    folder.mkdir()
    (folder / CONFIG).write_text("[]")


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (finished_from_a_start, r"a different run \(other start\)"),
        (cut_off_in_another_version, r"safetensors: this version of sdlcore cannot resume .* lacks 'silent'\. Res"),
        (without_settings, r"config\.json does not describe a run: .* Choose another folder"),
    ],
)
def test_folders_of_other_runs_are_refused(prepare, message, x, tmp_path, monkeypatch):
    prepare(x, tmp_path / "run", monkeypatch)
    with pytest.raises(ValueError, match=message):
        sdl.fit(x, out=tmp_path / "run", checkpoint_every=5, **SETTINGS)


@pytest.mark.parametrize("number", [errno.EBADF, errno.ENOLCK])
def test_a_file_system_that_cannot_lock_folders_leaves_them_unlocked(x, tmp_path, monkeypatch, number):
    def flock(file, operation):
        raise OSError(number, "a network file system")

    monkeypatch.setattr(run_folder.fcntl, "flock", flock)
    assert fitted(x, tmp_path / "run")[0].n_q == 8


@pytest.mark.parametrize("settings", [SETTINGS, SOLVED], ids=["training", "solver"])
def test_describe_fit_is_the_provenance_of_the_run(x, tmp_path, settings):
    quiet = {name: value for name, value in settings.items() if name != "progress"}
    described = describe_fit(x, seed=3, **quiet)
    dictionary = sdl.fit(x, seed=3, out=tmp_path / "run", **settings)
    assert described == json.loads(json.dumps(dictionary.provenance))


def test_a_folder_of_another_library_is_refused_before_the_training(x, tmp_path):
    theirs = sdl.export(sdl.fit(x, **SETTINGS), "saelens", tmp_path / "theirs")
    files = sorted(theirs.iterdir())
    with pytest.raises(ValueError, match="theirs: contains a dictionary of saelens; choose another folder"):
        sdl.fit(x, out=theirs, **SETTINGS)
    with pytest.raises(ValueError, match="theirs: contains a dictionary of saelens; choose another folder"):
        sdl.refine(theirs, x, rounds=4, out=theirs, progress=False)
    assert sorted(theirs.iterdir()) == files
