"""Several processes, which torchrun starts, train one dictionary by `sdl.fit` and `sdlcore fit`."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

import sdlcore as sdl
from tests.conftest import REPOSITORY
from tests.fitting.test_fitting import QUIET, SMALL, TOPK, same, weights
from tests.fitting.together import X, all_inputs
from tests.training.test_distributed import Together

TOLERANCE = {"rtol": 1e-3, "atol": 1e-4}
"""Of float32 sums in another order (tests/training/test_distributed.py)."""


def assert_close(dictionary, expected):
    torch.testing.assert_close(weights(dictionary), weights(expected), **TOLERANCE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return the folder in which two processes have run `tests.fitting.together`."""
    folder, processes = tmp_path_factory.mktemp("together"), Together()
    processes.train(folder / "log", command=[str(REPOSITORY / "tests/fitting/together.py"), str(folder)])
    assert processes.end() == [0, 0], (folder / "log").read_text()
    processes.close()
    return folder


def test_each_of_two_processes_returns_the_dictionary_of_one(folder):
    start = sdl.load(folder / "start0")
    assert_close(start, sdl.fit(X, **TOPK, **QUIET))
    early = {"callbacks": [lambda row: row["step"] == 20], "normalise": True}
    expected = sdl.fit(X, **early, **all_inputs(start), **TOPK, **QUIET)
    dictionary = sdl.load(folder / "resumed0")
    assert_close(dictionary, expected)
    for name in ("start", "resumed"):
        assert same(sdl.load(folder / f"{name}1"), sdl.load(folder / f"{name}0"))
    recovered = [[row["gt_recovery_decoder"] for row in one.history] for one in (dictionary, expected)]
    assert recovered[0] == recovered[1]
    assert sdl.load(folder / "resumed1").provenance["stopped"]["by"] == dictionary.provenance["stopped"]["by"] != []
    assert start.provenance["processes"] == dictionary.provenance["processes"] == 2


def test_an_interruption_of_one_process_stops_both_and_the_same_call_resumes(folder):
    message = f"interrupted after step 11 of 30; the same call resumes from the checkpoint of step 11 in {folder}"
    for rank in range(2):
        assert message in (folder / f"interrupted{rank}").read_text()
        assert same(sdl.load(folder / f"opened{rank}"), sdl.load(folder / "resumed0"))
    assert json.loads((folder / "rows0.json").read_text()) == [10, 10, 20]
    assert json.loads((folder / "rows1.json").read_text()) == []


def test_the_first_process_alone_warns_and_shows_its_progress(folder):
    log = (folder / "log").read_text()
    assert log.count(" 0/30 [") == 4  # three calls; the bar of the last, which opens the run, ends at 0


@pytest.mark.filterwarnings("ignore:activation relu")
def test_a_batch_that_cannot_be_divided_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(ValueError, match="batch_size = 50 must be a multiple of 3 processes that divide"):
        sdl.fit(X[:200], **SMALL)


@pytest.mark.slow
def test_torchrun_starts_the_command_which_prints_one_line(tmp_path):
    np.save(tmp_path / "x.npy", X)
    options = [f"--{name.replace('_', '-')}={value}" for name, value in TOPK.items()]
    command = "-m torch.distributed.run --standalone --nproc-per-node 2 -m sdlcore fit x.npy --out run --device cpu"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src")}
    call = [sys.executable, *command.split(), *options]
    done = subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{sdl.load(tmp_path / 'run')}: run"]
    assert_close(sdl.load(tmp_path / "run"), sdl.fit(X, **TOPK, **QUIET))
