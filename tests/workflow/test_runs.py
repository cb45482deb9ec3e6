"""The script that makes runs: copies of finished runs, checkpoints of other runs, codes by search, and recorders."""

import contextlib
import json
import logging
import math
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import load_file

import sdlcore as sdl
from sdlcore.data.batches import BatchReader
from sdlcore.data.reading import ActivationStore
from sdlcore.random_streams import stream
from sdlcore.training import loop
from tests.conftest import REPOSITORY, make_run
from tests.stores import write_store

SCRIPT = REPOSITORY / "workflow/scripts/train.py"
FILES = ("model.safetensors", "config.json", "history.csv")
SETTINGS = {"activation": "topk", "k": 2, "n_q": 8, "steps": 6, "batch_size": 16, "log_every": 3, "checkpoint_every": 3}
SETTINGS |= {"resample_every": None}


class Runs:
    """Makes one run after another, for configurations with separate folders of results and stores."""

    def __init__(self, folder: Path, log: pytest.LogCaptureFixture) -> None:
        self.folder, self.log = folder, log

    def make(self, configuration: str, seed: int = 0, tensorboard: Path | None = None, threads: int = 1, **settings):
        """Make a run, and return whether a finished run was copied."""
        path = self.folder / configuration / "train.h5"
        if not path.exists():
            path.parent.mkdir()
            write_store(path, stream(0, "rows").standard_normal((50, 6)).astype(np.float32))
        self.log.clear()
        given = settings if "solver" in settings else SETTINGS | settings
        options = {"finished": str(self.folder / "*/runs/*"), "tensorboard": tensorboard, "threads": threads}
        with self.log.at_level(logging.INFO):
            make_run(self.files(configuration), path, given, seed, **options)
        assert {file.name for file in self.files(configuration).iterdir()} == set(FILES)
        return "is a finished run with the same inputs" in self.log.text

    def files(self, configuration: str) -> Path:
        return self.folder / configuration / "runs" / configuration


@pytest.fixture
def empty(tmp_path, caplog) -> Runs:
    return Runs(tmp_path, caplog)


@pytest.fixture
def runs(empty: Runs) -> Runs:
    assert not empty.make("one")
    return empty


def test_a_run_of_another_configuration_is_copied_with_its_history_for_recorders(runs, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert runs.make("two", tensorboard=tmp_path / "events")
    for name in FILES:
        one, two = (runs.files(configuration) / name for configuration in ("one", "two"))
        same = json.loads(one.read_text()) == json.loads(two.read_text()) if name == "config.json" else None
        assert one.read_bytes() == two.read_bytes() if same is None else same
        # a new file of its own, because Snakemake compares times
        assert two.stat().st_ino != one.stat().st_ino
    assert len(EventAccumulator(str(tmp_path / "events")).Reload().Scalars("loss")) == 2


def test_a_solvers_run_is_copied_too(empty):
    solved = {"solver": "kmeans", "n_atoms": 4, "support": 2}
    assert not empty.make("one", **solved)
    assert empty.make("two", **solved)


@pytest.mark.parametrize("settings", [{"k": 3}, {"seed": 1}, {"lr": 0.01}])
def test_a_run_with_other_settings_is_not_copied(runs, settings):
    assert not runs.make("two", **settings)


@pytest.mark.parametrize("changed", [{"inputs": {"store": "0" * 64}}, {"number": 0}, {"plugins": {"topk": "0" * 64}}])
def test_a_run_on_other_activations_or_by_another_version_of_its_stage_is_not_copied(runs, changed):
    dictionary = sdl.load(runs.files("one"))
    dictionary.provenance["identity"] |= changed
    (runs.files("one") / "config.json").unlink()
    dictionary.save(runs.files("one"))
    assert not runs.make("two")


@pytest.mark.parametrize(
    ("file", "size"), [*((name, 0) for name in FILES), ("model.safetensors", -9), ("config.json", 5)]
)
def test_an_incomplete_or_damaged_run_is_not_copied(runs, file, size):
    path = runs.files("one") / file
    content = path.read_bytes()
    path.unlink()
    if size:
        path.write_bytes(content[:size] + bytes([content[size] ^ 1]) + content[size + 1 :])
    assert not runs.make("two")


@pytest.mark.parametrize(("lr", "steps"), [(None, 3), (0.1, 6)])
def test_an_interrupted_run_resumes_and_one_with_other_settings_begins_anew(runs, monkeypatch, lr, steps):
    once, steps_taken = loop.TrainingStep.__call__, []

    def step(self, *arguments):
        steps_taken.append(1)
        if len(steps_taken) == 5:
            raise MemoryError
        return once(self, *arguments)

    monkeypatch.setattr(loop.TrainingStep, "__call__", step)
    with pytest.raises(MemoryError):
        runs.make("two", seed=1, **{"lr": lr} if lr else {})
    assert (runs.files("two") / "checkpoint.safetensors").exists()
    steps_taken.extend([1] * 5)
    before = len(steps_taken)
    assert not runs.make("two", seed=1)
    assert len(steps_taken) - before == steps
    assert ("other settings or data; starting afresh" in runs.log.text) == bool(lr)
    runs.make("three", seed=1, checkpoint_every=6)
    two, three = (load_file(runs.files(name) / "model.safetensors") for name in ("two", "three"))
    assert all(np.array_equal(two[name], three[name]) for name in two)


# codes by search

TRAINING = {"activation": "batchtopk", "k": 3, "n_q": 24, "bias": True, "steps": 40, "batch_size": 64, "lr": 0.003}
CODES = {"search": "posterior", "samples": 500, "rounds": 5}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with a store, a training on it, and codes that are searched for on its rows."""
    folder = tmp_path_factory.mktemp("runs")
    x = sdl.SynthBench.draw(seed=0, n=32, n_p=24, roots=3, branching=2, depth=2, max_frequency=0.15).samples(3000).input
    write_store(folder / "train.h5", x)
    make_run(folder / "trained", folder / "train.h5", TRAINING)
    make_run(folder / "codes", folder / "train.h5", CODES, start=folder / "trained/model.safetensors")
    return folder


def test_codes_are_searched_for_and_refined_on_the_batches_after_the_training(folder):
    trained, codes = sdl.load(folder / "trained"), sdl.load(folder / "codes")
    with ActivationStore(folder / "train.h5") as store:
        reader = BatchReader(store, "sae", TRAINING["batch_size"], lambda epoch: stream(0, "order", epoch))
        found = sdl.search(trained, store.read("input")[:500], n_samples=500, progress=False)
        later = lambda step: reader(TRAINING["steps"] + step)[0]  # noqa: E731
        expected = sdl.refine(found, later, CODES["rounds"], n_samples=500, progress=False)
        x = store.read("input")[:200]
    np.testing.assert_array_equal(codes.W_dec, expected.W_dec)
    np.testing.assert_array_equal(codes.encode(x), expected.encode(x))
    assert (folder / "codes/history.csv").read_bytes() == (folder / "trained/history.csv").read_bytes()
    assert codes.provenance["identity"]["stage"] == "codes"


def test_a_killed_search_leaves_no_run_and_the_next_one_has_the_same_bits(folder):
    arguments = {"settings": json.dumps(CODES), "seed": 0, "store": folder / "train.h5", "device": "cpu"}
    arguments |= {"start": folder / "trained/model.safetensors", "out": folder / "killed"}
    command = [
        sys.executable,
        SCRIPT,
        *(str(part) for name, value in arguments.items() for part in (f"--{name}", value)),
    ]
    search = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"})
    assert any("mean shift, round 1" in line for line in search.stderr)
    search.send_signal(signal.SIGKILL)
    search.communicate()
    assert not any((folder / "killed" / name).exists() for name in FILES)
    subprocess.run(command, check=True, capture_output=True)
    models = [(folder / name / "model.safetensors").read_bytes() for name in ("killed", "codes")]
    assert models[0] == models[1]


# the log, TensorBoard and Weights & Biases show each row of a training once, whatever interrupts it

ROWS = [
    {"step": 5 * i, "samples": 500 * i, "loss": 1 / i, "fvu": math.nan if i == 3 else 0.1 * i, "l0": 4.0}
    | {"dead_fraction": 0.25, "resampled": 0, "seconds": 0.5 * i}
    for i in range(1, 9)
]


class Died(Exception):
    pass


def record(folder, earlier=(), new=ROWS, dies=False, **places):
    """Pass rows on as `fit` does: first the rows of the checkpoint, which JSON restores, then new ones."""
    names = runpy.run_path(str(SCRIPT))
    run = names["Run"](3, folder / "train.h5", folder, **places)
    with contextlib.suppress(Died), names["recorder"](run, {"k": 4, "seed": 3}, {"stage": "train"}) as write:
        for row in [*json.loads(json.dumps(earlier)), *new]:
            write(row)
        if dies:
            raise Died


def test_tensorboard_shows_no_row_twice_after_a_resume(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    record(tmp_path, [], ROWS[:5], dies=True, tensorboard=tmp_path / "events")
    time.sleep(1)  # TensorBoard orders files by name, which contains the second of creation
    record(tmp_path, ROWS[:3], ROWS[3:], tensorboard=tmp_path / "events")
    events = EventAccumulator(str(tmp_path / "events")).Reload().Scalars("loss")
    assert [(event.step, event.value) for event in events] == [
        (row["step"], pytest.approx(row["loss"], rel=1e-6)) for row in ROWS
    ]


class Service:
    """A replacement for wandb and its stored runs: steps must grow, and it warns otherwise."""

    def __init__(self):
        self.runs, self.exit_codes, self.settings = {}, [], {}

    @contextlib.contextmanager
    def init(self, *, id, resume, **settings):
        self.settings, logged = settings, self.runs.setdefault(id, [])
        assert resume == "allow" or not logged

        def log(row, step):
            assert not logged or step > logged[-1]["step"], "a step is logged once, and later ones after it"
            logged.append(row)

        try:
            yield SimpleNamespace(step=logged[-1]["step"] + 1 if logged else 0, log=log)
        except BaseException:
            self.exit_codes.append(1)
            raise
        self.exit_codes.append(0)


@pytest.mark.parametrize("ahead", [0, 2])
def test_a_resumed_training_goes_on_in_its_run_at_weights_and_biases(monkeypatch, ahead, tmp_path):
    service = Service()
    monkeypatch.setitem(sys.modules, "wandb", service)
    record(tmp_path, [], ROWS[: 3 + ahead], dies=True, wandb="sdlcore")
    record(tmp_path, ROWS[:3], ROWS[3:], wandb="sdlcore")
    assert [str(rows) for rows in service.runs.values()] == [str(ROWS)]  # a nan equals nothing
    assert service.exit_codes == [1, 0]
    assert service.settings == {"project": "sdlcore", "dir": str(tmp_path), "config": {"k": 4, "seed": 3}}
