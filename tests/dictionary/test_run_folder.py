"""A run folder opens for the same run, whatever code, packages and device computed it, and refuses any other."""

import json
import shutil
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import sdlcore as sdl
from sdlcore.dictionary.run_folder import CHECKPOINT, CONFIG
from sdlcore.fitting.fit import opened_fit
from sdlcore.fitting.solve import opened_solve
from sdlcore.identity import NUMBERS
from sdlcore.training import loop
from sdlcore.training.checkpoint import describe_checkpoint, load_checkpoint, save_checkpoint
from tests.fitting.test_fitting import cut_off

RUNS = Path(__file__).parent / "runs"
"""Runs that an earlier version wrote."""
QUIET = {"device": "cpu", "progress": False}
SETTINGS = {"activation": "topk", "k": 2, "n_q": 8, "batch_size": 32, "steps": 20, "log_every": 5, **QUIET}
SETTINGS |= {"normalise": False, "bias": False, "resample_every": None, "checkpoint_every": 5}
SOLVED = {"solver": "kmeans", "n_atoms": 4, "support": 2}


@pytest.fixture
def runs(tmp_path):
    return Path(shutil.copytree(RUNS, tmp_path / "runs"))


@pytest.fixture
def numbers(monkeypatch):
    """The numbers of the stages of the earlier version."""
    for stage in ("train", "solve"):
        monkeypatch.setitem(NUMBERS, stage, 1)


@pytest.fixture
def x():
    return np.load(RUNS / "x.npy")


@pytest.fixture
def steps(monkeypatch):
    """The steps that trainings take."""
    taken, once = [], loop.TrainingStep.__call__
    monkeypatch.setattr(loop.TrainingStep, "__call__", lambda self, *args: (taken.append(1), once(self, *args))[1])
    return taken


def fitted(x, folder, **settings):
    with warnings.catch_warnings(action="ignore"):
        return sdl.fit(x, out=folder, **{**SETTINGS, **settings})


def changed(folder, **facts):
    """Change the provenance of a finished run."""
    dictionary = sdl.load(folder)
    dictionary.provenance |= facts
    shutil.rmtree(folder)
    dictionary.save(folder)


@pytest.mark.usefixtures("numbers")
@pytest.mark.parametrize("name", ["finished", "solved"])
def test_a_run_of_an_earlier_version_opens(runs, x, name, steps, caplog):
    solve = partial(sdl.solve, progress=False, **SOLVED)
    dictionary = solve(x, out=runs / name) if name == "solved" else fitted(x, runs / name)
    assert not steps
    assert f"{name} was computed with " in caplog.text
    assert "other code of sdlcore; results can differ by rounding" in caplog.text
    assert np.array_equal(dictionary.W_dec, sdl.load(RUNS / name).W_dec)


@pytest.mark.usefixtures("numbers")
def test_an_unfinished_run_of_an_earlier_version_resumes(runs, x, steps, caplog):
    fitted(x, runs / "unfinished")
    assert len(steps) == 10
    assert "other code of sdlcore" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gradient_clip": 2.0}, "gradient_clip is 1.0, here 2.0"),
        ({"k": 3, "lr": 0.1}, "k is 2, here 3"),
        ({"seed": 1}, "seed is 0, here 1"),
        (SOLVED, "stage is train, here solve"),
    ],
)
@pytest.mark.parametrize("is_finished", [True, False])
def test_another_run_is_refused_by_its_first_difference(x, tmp_path, monkeypatch, change, message, is_finished):
    folder = tmp_path / "run"
    if is_finished:
        fitted(x, folder)
    else:
        cut_off(monkeypatch, x, 11, out=folder, **SETTINGS)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    call = partial(sdl.solve, progress=False) if change is SOLVED else partial(sdl.fit, **SETTINGS)
    with pytest.raises(
        ValueError, match=rf"run belongs to another run: {message}\. Delete it, or choose another folder"
    ):
        call(x, out=folder, **change)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_other_data_are_refused_by_their_digests(x, tmp_path):
    fitted(x, tmp_path / "run")
    with pytest.raises(ValueError, match=r"another run: inputs\.store is [0-9a-f]{59}…?[0-9a-f]*, here [0-9a-f]{59}"):
        fitted(x + 1, tmp_path / "run")


@pytest.mark.parametrize("name", ["finished", "unfinished"])
def test_a_raised_number_of_the_stage_makes_another_run(runs, x, monkeypatch, name):
    """A finished or unfinished run of other code is not taken for a run of this code, if results differ."""
    monkeypatch.setitem(NUMBERS, "train", 7)
    with pytest.raises(ValueError, match=r"another run: NUMBERS\['train'\] is 1, here 7"):
        fitted(x, runs / name)


def rewritten(path, drop="", **facts):
    """Change the facts of a checkpoint, and remove one of its tensors."""
    checkpoint = load_checkpoint(path)
    tensors = {name: tensor for name, tensor in checkpoint.tensors.items() if name != drop}
    save_checkpoint(path, checkpoint._replace(tensors=tensors), {**describe_checkpoint(path).facts, **facts})


def test_an_unfinished_run_resumes_with_other_code_and_says_so(x, tmp_path, monkeypatch, caplog, request):
    """Days of training outweigh a rounding difference."""
    folder = tmp_path / "run"
    whole = fitted(x, None)
    cut_off(monkeypatch, x, 11, out=folder, **SETTINGS)
    rewritten(folder / CHECKPOINT, package="other")
    steps = request.getfixturevalue("steps")
    dictionary = fitted(x, folder)
    assert "run was computed with other code of sdlcore" in caplog.text
    assert len(steps) == 10
    assert np.array_equal(dictionary.W_dec, whole.W_dec)
    assert dictionary.provenance == whole.provenance


def of_no_run(x, folder, _):
    fitted(x, folder)
    facts = json.loads((folder / CONFIG).read_text())
    del facts["identity"]
    (folder / CONFIG).write_text(json.dumps(facts))


def finished_from_a_start(x, folder, _):
    run = fitted(x, folder).provenance["identity"]
    changed(folder, identity={**run, "inputs": {**run["inputs"], "start": "a digest"}})


def cut_off_in_another_version(x, folder, monkeypatch):
    cut_off(monkeypatch, x, 11, out=folder, **SETTINGS)
    rewritten(folder / CHECKPOINT, drop="silent")


def without_settings(x, folder, _):
    folder.mkdir()
    (folder / CONFIG).write_text("[]")


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (of_no_run, "another run: stage is missing, here train"),
        (finished_from_a_start, r"another run: inputs\.start is a digest, here missing"),
        (cut_off_in_another_version, r"safetensors: this version of sdlcore cannot resume .* lacks 'silent'\. Res"),
        (without_settings, r"config\.json: not readable as the provenance of a run .*; choose another folder"),
    ],
)
def test_folders_of_other_runs_are_refused(prepare, message, x, tmp_path, monkeypatch):
    prepare(x, tmp_path / "run", monkeypatch)
    with pytest.raises(ValueError, match=message):
        fitted(x, tmp_path / "run")


def test_codes_by_search_in_a_folder_are_no_finished_training(x, tmp_path):
    sdl.search(fitted(x, None), method="omp").save(tmp_path / "run")
    with pytest.raises(ValueError, match="another run: stage is missing, here train"):
        fitted(x, tmp_path / "run")


def test_the_identity_is_known_before_the_run(x, tmp_path):
    quiet = {name: value for name, value in SETTINGS.items() if name != "progress"}
    sdl.fit(x, seed=3, out=tmp_path / "fit", **SETTINGS)
    sdl.solve(x, seed=3, out=tmp_path / "solve", progress=False, **SOLVED)
    with opened_fit(x, seed=3, **quiet) as (*_, fit_facts), opened_solve(x, seed=3, **SOLVED) as (_, solve_facts, _):
        for name, facts in (("fit", fit_facts), ("solve", solve_facts)):
            assert facts["identity"] == json.loads((tmp_path / name / CONFIG).read_text())["identity"]


def test_a_folder_of_another_library_is_refused_before_the_training(x, tmp_path):
    theirs = sdl.export(sdl.fit(x, **SETTINGS), "saelens", tmp_path / "theirs")
    files = sorted(theirs.iterdir())
    with pytest.raises(ValueError, match="theirs: contains a dictionary of saelens; choose another folder"):
        sdl.fit(x, out=theirs, **SETTINGS)
    with pytest.raises(ValueError, match="theirs: contains a dictionary of saelens; choose another folder"):
        sdl.refine(theirs, x, rounds=4, out=theirs, progress=False)
    assert sorted(theirs.iterdir()) == files
