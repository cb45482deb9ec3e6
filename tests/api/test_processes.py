"""Several processes train one dictionary, started by `sdl.fit` and `sdlcore fit`."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import sdlcore as sdl
from sdlcore.api.run_folder import CHECKPOINT
from tests.api.test_fitting import QUIET, TOPK, same, weights
from tests.conftest import REPOSITORY

TOLERANCE = {"rtol": 1e-3, "atol": 1e-4}
"""Of float32 sums in another order (tests/training/test_distributed.py)."""


@pytest.fixture(scope="module")
def bench():
    return sdl.Bench.draw(seed=0, n=12, n_p=8, sparsity=0.85, max_interference=0.5)


@pytest.fixture(scope="module")
def x(bench):
    return bench.sample(3000)


def assert_close(dictionary, expected):
    torch.testing.assert_close(weights(dictionary), weights(expected), **TOLERANCE)


def other_processes() -> list[int]:
    return [int(number) for number in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


def test_two_processes_train_the_dictionary_of_one_and_an_interruption_is_resumed(bench, x, tmp_path, interruptible):
    """The training with anchors, a start, a watch and callbacks is interrupted, then resumed by two processes."""
    start = sdl.fit(x, **TOPK, **QUIET)
    settings = TOPK | {"anchors": bench.anchors(3), "start": start, "watch": bench, "normalise": True, **QUIET}
    expected = sdl.fit(x, **settings)
    rows = []

    def interrupt(row):
        rows.append(row["step"])
        if rows == [10]:
            signal.raise_signal(signal.SIGINT)

    several = settings | {"processes": 2, "split": "latents", "out": tmp_path / "run", "callbacks": [interrupt]}
    threads = torch.get_num_threads()
    message = f"interrupted after step 11 of 30; the same call resumes from the checkpoint of step 11 in {tmp_path}"
    with pytest.raises(KeyboardInterrupt, match=message):
        sdl.fit(x, **several)
    assert (tmp_path / "run" / CHECKPOINT).exists()
    dictionary = sdl.fit(x, **several)
    assert rows == [10, 10, 20, 30]
    assert torch.get_num_threads() == threads
    assert_close(dictionary, expected)
    recovered = [[row["gt_recovery_decoder"] for row in one.history] for one in (dictionary, expected)]
    assert recovered[0] == recovered[1]
    facts = json.loads((tmp_path / "run/config.json").read_text())
    assert (facts["processes"], facts["split"]) == (2, "latents")
    assert same(sdl.fit(x, **several), dictionary)  # opened
    assert rows == [10, 10, 20, 30]


@pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")
def test_the_death_of_a_process_is_one_sentence_and_leaves_the_checkpoint(x, tmp_path):
    def kill(row):
        if row["step"] == 20:
            os.kill(other_processes()[-1], signal.SIGKILL)

    settings = TOPK | {"checkpoint_every": 10, "processes": 2, "out": tmp_path / "run", **QUIET}
    with pytest.raises(ChildProcessError, match=r"^process 1 of 2 \(from 0\): ended by SIGKILL, perhaps for lack"):
        sdl.fit(x, callbacks=[kill], **settings)
    assert (tmp_path / "run" / CHECKPOINT).exists()


PLUGIN = """
import os
import sdlcore as sdl

if "LOCAL_RANK" in os.environ:
    raise ValueError("no plugin in this process")


@sdl.activation("absent")
class Absent(sdl.TopK): ...
"""


@pytest.mark.usefixtures("registry")
def test_an_error_of_another_process_arrives_as_its_sentence(x, tmp_path, monkeypatch):
    (tmp_path / "absent.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    __import__("absent")
    with pytest.raises(ChildProcessError, match=r"^process 1 of 2 \(from 0\): no plugin in this process$"):
        sdl.fit(x, processes=2, **TOPK | {"activation": "absent"}, **QUIET)


@pytest.mark.usefixtures("registry")
def test_a_method_in_the_main_script_is_refused(x, monkeypatch):
    class Main(sdl.TopK): ...

    Main.__module__ = "__main__"
    sdl.activation("in_main")(Main)
    with pytest.raises(ValueError, match=r"activation in_main is defined in the main script or notebook, .*; move it"):
        sdl.fit(x, processes=2, **TOPK | {"activation": "in_main"}, **QUIET)


@pytest.mark.slow
def test_the_installed_command_trains_with_two_processes_outside_a_clone(x, tmp_path):
    np.save(tmp_path / "x.npy", x)
    options = [f"--{name.replace('_', '-')}={value}" for name, value in TOPK.items()]
    call = "fit x.npy --out run --processes 2 --device cpu"
    command = [sys.executable, "-c", "from sdlcore.commands.main import main; main()", *call.split(), *options]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert_close(sdl.load(tmp_path / "run"), sdl.fit(x, **TOPK, **QUIET))
