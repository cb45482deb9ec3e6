"""Runs of the workflow: a finished run replaces the same run whatever its name, and another checkpoint begins anew."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from runs.folder import Run, Training
from sdlcore import load
from sdlcore.errors import DivergedError
from sdlcore.random_streams import stream
from sdlcore.training import loop
from sdlcore.training.history import read_history
from tests.conftest import script
from tests.stores import write_store

SETTINGS = {"activation": "topk", "k": 2, "n_q": 8, "steps": 6, "batch_size": 16, "log_every": 3, "checkpoint_every": 3}
SETTINGS |= {"resample_every": None}
DAMAGED = [("model.safetensors", -9), ("config.json", 5)]
"""Files that reveal damage, and the byte to damage."""
FILES = ("model.safetensors", "config.json", "history.csv")
CPU = Training(device="cpu")


class Trainings:
    """Trains one run after another, for configurations with separate folders for results and stores."""

    def __init__(self, folder: Path, log: pytest.LogCaptureFixture) -> None:
        self.folder, self.log = folder, log

    def run(self, configuration: str, options: Training = CPU, seed: int = 0, threads: int = 1, **settings) -> bool:
        """Train, and return whether a finished run was copied."""
        path = self.folder / configuration / "train.h5"
        if not path.exists():
            path.parent.mkdir()
            write_store(path, stream(0, "rows").standard_normal((50, 6)).astype(np.float32))
        folder = self.files(configuration)
        run = Run(seed, path, folder, threads=threads, finished=str(self.folder / "*/runs/*"))
        self.log.clear()
        with self.log.at_level(logging.INFO):
            script("train")(run, options, settings=settings if "solver" in settings else SETTINGS | settings)
        assert {file.name for file in folder.iterdir()} == set(FILES)
        return "is a finished run with the same inputs" in self.log.text

    def files(self, configuration: str) -> Path:
        return self.folder / configuration / "runs" / configuration


@pytest.fixture
def empty(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Trainings:
    return Trainings(tmp_path, caplog)


@pytest.fixture
def trainings(empty: Trainings) -> Trainings:
    assert not empty.run("one")
    return empty


def test_a_run_of_another_configuration_is_copied_and_its_files_stay(trainings: Trainings):
    before = {name: (trainings.files("one") / name).stat() for name in FILES}
    assert trainings.run("two")
    for name, stat in before.items():
        one, two = (trainings.files(configuration) / name for configuration in ("one", "two"))
        if name == "config.json":
            assert json.loads(one.read_text()) == json.loads(two.read_text())
        else:
            assert one.read_bytes() == two.read_bytes()
        # a new file of its own, because Snakemake compares times
        assert two.stat().st_ino != stat.st_ino
        assert two.stat().st_mtime_ns > stat.st_mtime_ns == one.stat().st_mtime_ns


def test_a_solvers_run_is_copied_too(empty: Trainings):
    solved = {"solver": "kmeans", "n_atoms": 4, "support": 2}
    assert not empty.run("one", **solved)
    assert empty.run("two", **solved)


@pytest.mark.parametrize("settings", [{"k": 3}, {"seed": 1}, {"lr": 0.01}, {"l1": 0.1}])
def test_another_run_is_not(trainings: Trainings, settings: dict[str, float]):
    assert not trainings.run("two", **settings)


@pytest.mark.parametrize("changed", [{"inputs": {"store": "0" * 64}}, {"number": 0}, {"plugins": {"topk": "0" * 64}}])
def test_a_run_on_other_activations_or_by_another_version_of_its_stage_or_plugin_is_not(trainings, changed):
    dictionary = load(trainings.files("one"))
    dictionary.provenance["identity"] |= changed
    (trainings.files("one") / "config.json").unlink()
    dictionary.save(trainings.files("one"))
    assert not trainings.run("two")


def test_a_run_by_other_code_or_packages_is_copied(trainings: Trainings):
    dictionary = load(trainings.files("one"))
    dictionary.provenance |= {"package": "0" * 16, "versions": {}}
    dictionary.save(trainings.files("one"))
    assert trainings.run("two")
    assert "other code of sdlcore" in trainings.log.text


@pytest.mark.parametrize(("file", "size"), [*((name, 0) for name in FILES), *DAMAGED])
def test_an_incomplete_or_damaged_run_is_not_copied(trainings: Trainings, file: str, size: int):
    path = trainings.files("one") / file
    content = path.read_bytes()
    path.unlink()
    if size:
        path.write_bytes(content[:size] + bytes([content[size] ^ 1]) + content[size + 1 :])
    assert not trainings.run("two")


def test_a_model_of_another_run_is_not_copied(trainings: Trainings):
    trainings.run("two", k=3)
    (trainings.files("two") / "model.safetensors").replace(trainings.files("one") / "model.safetensors")
    assert not trainings.run("three")


def test_a_run_that_has_begun_again_is_not_copied(trainings: Trainings):
    """The folder contains history and model of the previous run."""
    (trainings.files("one") / "config.json").unlink()
    with pytest.raises(DivergedError):
        trainings.run("one", lr=1e30, gradient_clip=None)
    assert (trainings.files("one") / "model.safetensors").exists()
    assert not trainings.run("two")


def test_recorders_get_the_history_of_a_copied_run(trainings: Trainings, tmp_path: Path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert trainings.run("two", Training(device="cpu", tensorboard=tmp_path / "told"))
    events = EventAccumulator(str(tmp_path / "told")).Reload().Scalars("loss")
    rows = read_history(trainings.files("one") / "history.csv")
    assert [(event.step, event.value) for event in events] == [
        (row["step"], pytest.approx(row["loss"])) for row in rows
    ]


def test_a_copied_run_equals_a_trained_one(trainings: Trainings):
    trainings.run("two")
    config = trainings.files("one") / "config.json"
    config.unlink()
    (trainings.files("two") / "config.json").unlink()
    assert not trainings.run("three")
    two, three = (load_file(trainings.files(name) / "model.safetensors") for name in ("two", "three"))
    for name in two:
        np.testing.assert_array_equal(two[name], three[name])


@pytest.mark.parametrize(("lr", "steps"), [(None, 3), (0.1, 6)])
def test_an_interrupted_run_resumes_and_one_with_other_settings_begins_anew(trainings, monkeypatch, lr, steps):
    once, steps_taken = loop.TrainingStep.__call__, []

    def step(self, *arguments):
        steps_taken.append(1)
        if len(steps_taken) == 5:
            raise MemoryError
        return once(self, *arguments)

    monkeypatch.setattr(loop.TrainingStep, "__call__", step)
    with pytest.raises(MemoryError):
        trainings.run("two", seed=1, **{"lr": lr} if lr else {})
    assert (trainings.files("two") / "checkpoint.safetensors").exists()
    steps_taken.extend([1] * 5)
    before = len(steps_taken)
    assert not trainings.run("two", seed=1)
    assert len(steps_taken) - before == steps
    assert ("other settings or data; starting afresh" in trainings.log.text) == bool(lr)
    trainings.run("three", seed=1, checkpoint_every=6)
    two, three = (load_file(trainings.files(name) / "model.safetensors") for name in ("two", "three"))
    assert all(np.array_equal(two[name], three[name]) for name in two)


def test_processes_on_one_machine_share_its_threads(empty: Trainings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    before = torch.get_num_threads()
    try:
        empty.run("one", threads=9)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
