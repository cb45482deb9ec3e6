"""A finished run replaces an identical one, whatever their names, but only if it is complete."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from sdlcore.data.batches import open_store
from sdlcore.data.writing import create_store
from sdlcore.errors import DivergedError
from sdlcore.random_streams import stream
from sdlcore.run import RunConfig
from sdlcore.training.history import read_history
from sdlcore.training.run_training import Options, run_training
from sdlcore.training.runner import Run

SETTINGS = {"activation": "topk", "k": 2, "n_q": 8, "steps": 6, "batch_size": 16, "log_every": 3}
DAMAGED = [("model.safetensors", -9), ("config.json", 5)]
"""Files that reveal damage, and the byte to damage."""
FILES = {"model": "model.safetensors", "config": "config.json", "history": "history.csv"}


ALONE = Options(device="cpu")


class Trainings:
    """Trains one run after another, for configurations with separate folders for results and stores."""

    def __init__(self, folder: Path, log: pytest.LogCaptureFixture) -> None:
        self.folder, self._log = folder, log

    def run(self, configuration: str, options: Options = ALONE, seed: int = 0, **settings: object) -> bool:
        """Train, and return whether a finished run was copied."""
        store = self.folder / configuration / "train.h5"
        if not store.exists():
            store.parent.mkdir()
            with create_store(store, {}) as writer:
                writer.append(stream(0, "rows").standard_normal((50, 6)).astype(np.float32))
        files = {name: self.files(configuration) / file for name, file in FILES.items()}
        run = Run(seed=seed, store=store, finished=str(self.folder / "*/runs/*"), **files)
        self._log.clear()
        with self._log.at_level(logging.INFO):
            config = RunConfig.from_dict(SETTINGS | settings)
            run_training(run, config, options, __file__, lambda *where: open_store(*where[:4]))
        assert all(path.is_file() for path in files.values())
        assert not list(self.files(configuration).glob(".*"))
        return "is a finished run with the same inputs" in self._log.text

    def files(self, configuration: str) -> Path:
        return self.folder / configuration / "runs" / configuration


@pytest.fixture
def trainings(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Trainings:
    made = Trainings(tmp_path, caplog)
    assert not made.run("one")
    return made


def test_a_run_of_another_configuration_is_copied_and_its_own_files_stay(trainings: Trainings):
    before = {name: (trainings.files("one") / name).stat() for name in FILES.values()}
    assert trainings.run("two")
    for name, stat in before.items():
        one, two = (trainings.files(configuration) / name for configuration in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()
        # a new file of its own, because Snakemake compares times
        assert two.stat().st_ino != stat.st_ino
        assert two.stat().st_mtime_ns > stat.st_mtime_ns == one.stat().st_mtime_ns


def test_a_setting_that_the_run_does_not_use_makes_no_difference(trainings: Trainings):
    assert trainings.run("two", bandwidth=3.0, k_aux=7)


@pytest.mark.parametrize("settings", [{"k": 3}, {"seed": 1}, {"lr": 0.01}, {"l1": 0.1}])
def test_another_run_is_not(trainings: Trainings, settings: dict[str, float]):
    assert not trainings.run("two", **settings)


def test_a_run_on_other_activations_or_by_other_code_is_not(trainings: Trainings):
    config = trainings.files("one") / "config.json"
    facts = json.loads(config.read_text())
    for changed in ({"inputs": facts["inputs"] | {"store": "0" * 64}}, {"code": "0" * 16}):
        config.write_text(json.dumps(facts | changed))
        assert not trainings.run("two")


@pytest.mark.parametrize(("file", "kept"), [*((name, 0) for name in FILES.values()), *DAMAGED])
def test_a_run_that_is_not_whole_is_not_taken(trainings: Trainings, file: str, kept: int):
    path = trainings.files("one") / file
    content = path.read_bytes()
    path.unlink()
    if kept:
        path.write_bytes(content[:kept] + bytes([content[kept] ^ 1]) + content[kept + 1 :])
    assert not trainings.run("two")


def test_a_model_of_another_run_is_not_taken(trainings: Trainings):
    trainings.run("two", k=3)
    (trainings.files("two") / "model.safetensors").replace(trainings.files("one") / "model.safetensors")
    assert not trainings.run("three")


def test_a_run_that_has_begun_again_is_not_taken(trainings: Trainings):
    """The folder contains history and model of the previous run."""
    with pytest.raises(DivergedError):
        trainings.run("one", lr=1e30, gradient_clip=None)
    assert (trainings.files("one") / "model.safetensors").exists()
    assert not trainings.run("two")


def test_whoever_is_told_of_histories_hears_that_of_a_run_that_is_copied(trainings: Trainings, tmp_path: Path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert trainings.run("two", Options(device="cpu", tensorboard=tmp_path / "told"))
    told = EventAccumulator(str(tmp_path / "told")).Reload().Scalars("loss")
    rows = read_history(trainings.files("one") / "history.csv")
    assert [(event.step, event.value) for event in told] == [(row["step"], pytest.approx(row["loss"])) for row in rows]


def test_what_is_copied_is_what_would_be_found(trainings: Trainings):
    trainings.run("two")
    config = trainings.files("one") / "config.json"
    config.unlink()
    (trainings.files("two") / "config.json").unlink()
    assert not trainings.run("three")
    two, three = (load_file(trainings.files(name) / "model.safetensors") for name in ("two", "three"))
    for name in two:
        np.testing.assert_array_equal(two[name], three[name])
