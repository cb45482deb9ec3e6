"""Killed trainings resume to the same bits as uninterrupted ones.

The tests kill processes of `workflow/scripts/train.py` with SIGKILL. They are forked from one process that has imported
everything that the script imports, because importing takes longer than these trainings.
"""

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest

from sdlcore.benches.config import BenchSamples
from sdlcore.benches.lrb import coefficients, feature_matrix, synthesise
from sdlcore.data.anchors import save_anchors
from sdlcore.data.references import References
from sdlcore.random_streams import stream
from sdlcore.training.history import read_history
from tests.conftest import REPOSITORY
from tests.forking import Forking
from tests.stores import write_store
from tests.training.test_loop import without_seconds

SCRIPT = REPOSITORY / "workflow/scripts/train.py"
KILLS = 2
# a checkpoint every few milliseconds, so that kills often hit one
BASE = {"n_q": 48, "steps": 120, "batch_size": 64, "lr": 3e-3, "log_every": 4, "checkpoint_every": 4}
METHODS = {
    "relu": {"activation": "relu", "l1": 0.1, "bias": True, "penalty_warmup": 0.3},
    "topk": {"activation": "topk", "k": 4, "initialisation": "tied"},
    "held": {"activation": "jumprelu", "l0": 0.01, "init_l0": 8, "target_l0": 6},
    "resampled": {"activation": "topk", "k": 1, "resample_every": 8, "dead_after": 300},
    "anchored": {"pair": "crosscoder", "activation": "batchtopk", "k": 4, "normalise": True, "lambda_anchor": 0.5},
}
"""With lambda_anchor, a method gets anchors. `test_loop.py` stops trainings with other settings in its own process."""
FORKING = """
import os, runpy, signal, sys
from pathlib import Path

import numba
from sdlcore.identity import provenance
from tests.forking import serve

def die_at(number, folder):
    seen = 0
    def lies_in_folder(path, dir_fd=-1):
        # unfinished files are named by way of the descriptor of their folder
        if isinstance(path, int):
            return folder in os.path.realpath(f"/proc/self/fd/{path}")
        where = f"/proc/self/fd/{dir_fd}" if dir_fd >= 0 else "."
        path = os.path.join(where, str(path))
        return folder in os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
    found = {
        "open": lambda path, *_: lies_in_folder(path),
        "os.chmod": lambda path, mode, dir_fd: lies_in_folder(path, dir_fd),
        "os.rename": lambda path, to, *_: lies_in_folder(to),
        "os.remove": lies_in_folder,
    }
    def hook(event, arguments):
        nonlocal seen
        if event in found and found[event](*arguments):
            seen += 1
            if seen == number:
                if event == "open":  # after which what was in the file may be gone
                    os.open(arguments[0], arguments[2], 0o666)
                os.kill(os.getpid(), signal.SIGKILL)
            print(f"file operation {seen}: {event}", file=sys.stderr, flush=True)
    sys.addaudithook(hook)

def run(request):
    if request["die_at"] is not None:
        die_at(request["die_at"], request["folder"])
    sys.argv = request["command"]
    runpy.run_path(sys.argv[0], run_name="__main__")

# everything that the script imports, at once or later
runpy.run_path(sys.argv[1], run_name="warm-up")
import sdlcore.sparse.kernels.cpu
import torch._dynamo
# and what else each would do again: half of its time, as in workflow/warm.py
numba.njit(lambda: None)()
provenance()
serve(run)
"""


class Trainings(Forking):
    """Starts train.py processes, one at a time."""

    def __init__(self, store: Path, anchors: Path) -> None:
        self._inputs = ["--seed", "3", "--device", "cpu", "--store", str(store)]
        self._anchors = ["--anchors", str(anchors)]
        super().__init__("-c", FORKING, str(SCRIPT))

    def train(self, folder: Path, settings: dict, die_at: int | None = None) -> int:
        """Start a training into a folder and return its process; it dies at its file operation ``die_at``."""
        command = [str(SCRIPT), "--settings", json.dumps({**BASE, **settings}), *self._inputs]
        command += self._anchors if "lambda_anchor" in settings else []
        command += ["--out", str(folder)]
        log = str(folder.with_suffix(".log"))
        return self.start(command=command, log=log, die_at=die_at, folder=str(folder))[0]

    def run(self, folder: Path, settings: dict, die_at: int | None = None) -> int:
        """Train and return the exit status."""
        self.train(folder, settings, die_at)
        return self.end()[0]


@pytest.fixture(scope="module")
def trainings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kill")
    n = 20
    W_p, W_r = (feature_matrix(d, n, stream(0, "W", d), 0.5).W for d in (14, 10))
    x = coefficients(1500, n, BenchSamples(sparsity=0.85), stream(0, "x"))
    write_store(folder / "store.h5", synthesise(x, W_p), target=synthesise(x, W_r))
    save_anchors(folder / "anchors.safetensors", References(W_p, W_r).choose(5), {})
    trainings = Trainings(folder / "store.h5", folder / "anchors.safetensors")
    yield trainings
    trainings.close()


def log(folder):
    return folder.with_suffix(".log").read_text()


def history(folder):
    return without_seconds(read_history(folder / "history.csv"))


def assert_whole_or_absent(folder, whole):
    assert "other settings or data" not in log(folder), "code was edited while it was tested"
    for name in ("model.safetensors", "config.json"):
        assert not (folder / name).exists() or (folder / name).read_bytes() == (whole / name).read_bytes()
    assert not (folder / "history.csv").exists() or history(folder) == history(whole)


def assert_same(folder, whole):
    assert_whole_or_absent(folder, whole)
    visible = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    assert visible == {path.name for path in whole.iterdir()} >= {"model.safetensors", "config.json", "history.csv"}


@pytest.mark.parametrize(
    "method", ["topk", *(pytest.param(name, marks=pytest.mark.slow) for name in METHODS if name != "topk")]
)
def test_a_training_killed_again_and_again_ends_in_the_same_bits(trainings, tmp_path, method):
    settings, whole, folder = METHODS[method], tmp_path / "whole", tmp_path / "killed"
    assert trainings.run(whole, settings) == 0, log(whole)
    if "resample_every" in settings:
        assert any(row["resampled"] for row in history(whole)), "it tests what it is there for"
    kills = 0
    while (status := run_and_kill(trainings, folder, settings)) and kills < KILLS:
        kills += 1
        assert status == -signal.SIGKILL, log(folder)
        assert_whole_or_absent(folder, whole)
    if status:
        assert trainings.run(folder, settings) == 0, log(folder)
    assert log(folder).count("resuming from step") >= 1, f"ended before it could be killed ({kills} times)"
    assert_same(folder, whole)


def run_and_kill(trainings, folder, settings):
    """Kill a training some rows and some milliseconds after its first checkpoint; return its status."""
    process = trainings.train(folder, settings)
    target, deadline = None, time.monotonic() + 60
    while not (folder / "model.safetensors").exists() and time.monotonic() < deadline:
        if target is None and (folder / "checkpoint.safetensors").exists():
            target = log(folder).count("\n") + random.randint(0, BASE["steps"] // BASE["log_every"] // 5)
        if target is not None and log(folder).count("\n") >= target:
            break
        time.sleep(0.001)
    time.sleep(random.uniform(0, 0.03))
    os.kill(process, signal.SIGKILL)
    return trainings.end()[0]


# `make test` takes one of five
@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_a_training_that_dies_at_any_of_its_file_operations_ends_in_the_same_bits(trainings, tmp_path, every):
    settings = {**METHODS["resampled"], "steps": 4, "log_every": 2, "checkpoint_every": 2}
    whole = tmp_path / "whole"
    assert trainings.run(whole, settings, die_at=0) == 0, log(whole)
    operations = log(whole).count("file operation")
    assert operations > 10
    for number in range(every, operations + 1, every):
        folder = tmp_path / f"killed{number}"
        assert trainings.run(folder, settings, die_at=number) == -signal.SIGKILL, log(folder)
        assert_whole_or_absent(folder, whole)
        assert trainings.run(folder, settings) == 0, log(folder)
        assert_same(folder, whole)


def test_a_training_begins_anew_where_one_of_another_configuration_was_killed(trainings, tmp_path):
    whole, folder = tmp_path / "whole", tmp_path / "killed"
    assert trainings.run(whole, METHODS["relu"]) == 0, log(whole)
    assert run_and_kill(trainings, folder, METHODS["topk"]) == -signal.SIGKILL, log(folder)
    assert (folder / "checkpoint.safetensors").exists()
    assert trainings.run(folder, METHODS["relu"]) == 0, log(folder)
    assert "other settings or data" in log(folder)
    assert (folder / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
