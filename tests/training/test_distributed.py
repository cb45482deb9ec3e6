"""Several processes train the same dictionary as one."""

import json
import os
import signal
import socket
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from sdlcore.model.saving import load_model
from sdlcore.processes import Processes
from sdlcore.sparse.kernels import int8
from sdlcore.training.history import read_history
from tests.forking import Forking
from tests.int8 import with_int8
from tests.stores import write_store
from tests.training.test_loop import without_seconds
from tests.training.together import BASE, SCRIPT, X, training

RESAMPLED = {"resample_every": 8, "dead_after": 200, "resample_until": 0.9}
CASES = {
    "relu": {"activation": "relu", "l1": 0.1, "bias": True, "init_l0": 8, "target_l0": 6},
    "jumprelu": {"activation": "jumprelu", "l0": 0.01, "init_l0": 8, "target_l0": 6},
    "jumprelu drawn to an l0": {
        **{"activation": "jumprelu", "l0": 0.1, "l0_form": "quadratic", "target_l0": 6},
        **{"frequency": 0.2},
    },
    "jumprelu tanh": {"activation": "jumprelu", "l0": 0.01, "l0_form": "tanh", "init_l0": 8, "target_l0": 6},
    "resampled jumprelu": {"activation": "jumprelu", "l0": 1.0, "init_threshold": 2.0, **RESAMPLED},
    "annealed": {"activation": "relu", "l1": 0.1, "bias": True, "l1_exponent_end": 0.3},
    "gated": {"activation": "gated", "l1": 0.1, "bias": True, "init_l0": 8, "target_l0": 6},
    "topk": {"activation": "topk", "k": 4, "decoder_norm": "unit", "gradient_clip": 0.1},
    "abstopk": {"activation": "abstopk", "k": 4},
    "batchtopk": {"activation": "batchtopk", "k": 1, "n_q": 256, "accumulate": 2, **RESAMPLED},
    "nested": {"activation": "batchtopk", "k": 4, "prefixes": [16, 48]},
    "multi_k topk": {"activation": "topk", "k": 4, "multi_k": [2, 4]},
    "multi_k batchtopk": {"activation": "batchtopk", "k": 4, "multi_k": [2, 4]},
    "nested, detached": {"activation": "batchtopk", "k": 4, "prefixes": [16, 48], "prefix_detached": True},
    "hierarchical": {"activation": "topk", "k": 4, "hierarchical": True},
    "more than a process has": {"activation": "topk", "k": 30, "bias": True, "accumulate": 4},
    "auxiliary": {"activation": "topk", "k": 1, "n_q": 256, "lambda_aux": 0.03, "k_aux": 8, "dead_after": 200},
    "anchored": {"activation": "topk", "k": 1, "n_q": 256, "lambda_anchor": 0.5, **RESAMPLED},
    "anchors matched and released": {
        **{"activation": "topk", "k": 4, "lambda_anchor": 0.5, "anchor_form": "matched"},
        **{"anchor_until": 0.5, "anchor_fall": 0.25},
    },
    "anchors by cosine": {"activation": "topk", "k": 4, "tied": True, "lambda_anchor": 0.5, "anchor_form": "cosine"},
    "transcoder": {"pair": "transcoder", "activation": "topk", "k": 4, "skip": True, "bias": True},
    "crosscoder": {"pair": "crosscoder", "activation": "relu", "l1": 0.1},
    "tied": {"activation": "topk", "k": 4, "tied": True, "weight_decay": 0.01, **RESAMPLED},
    "tied crosscoder": {"pair": "crosscoder", "activation": "relu", "l1": 0.1, "tied": True, "lambda_anchor": 0.5},
    "frozen": {"activation": "topk", "k": 4, "frozen": "encoder"},
    "archetypes": {"activation": "topk", "k": 4, "archetypes": 10, "relaxation": 0.5},
    "bfloat16": {"activation": "topk", "k": 4, "precision": "bfloat16"},
    "int8": {"activation": "batchtopk", "k": 4, "precision": "int8"},
}


class Together(Forking):
    """Starts groups of training processes (`tests.training.together`)."""

    def __init__(self) -> None:
        super().__init__("-m", "tests.training.together")

    def train(self, log: Path, processes: int = 2, **request) -> list[int]:
        """Start processes and return their process ids."""
        with socket.socket() as free:
            free.bind(("localhost", 0))
            where = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(free.getsockname()[1])}
        size = {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes)}
        variables = [{**where, **size, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(processes)]
        return self.start(log=str(log), variables=variables, **request)


@pytest.fixture(scope="module")
def together():
    processes = Together()
    yield processes
    processes.close()


@pytest.fixture(scope="module", params=["torch", pytest.param("numba", marks=pytest.mark.slow)])
def kernels(request):
    """The backend. Distributed training is the same for both; the other tests here use numba's."""
    return request.param


@pytest.fixture(scope="module")
def trained(together, kernels, tmp_path_factory):
    """Return the folder of all cases, trained by two processes."""
    folder = tmp_path_factory.mktemp("together")
    cases = {name: case for name, case in CASES.items() if int8.is_exact() or case.get("precision") != "int8"}
    (folder / "cases.json").write_text(json.dumps(cases))
    together.train(folder / "log", cases=str(folder), kernels=kernels)
    assert together.end() == [0, 0], (folder / "log").read_text()
    return folder


def tensors_and_history(path: Path) -> tuple[dict, list]:
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()["history"])  # noqa: SIM118


@pytest.mark.parametrize("case", with_int8(CASES))
def test_two_processes_train_what_one_does(trained, kernels, case):
    settings = CASES[case]
    model, history = training(settings, kernels=kernels)
    if "resample_every" in settings:
        assert sum(row["resampled"] for row in history) > 0, "it tests what it is there for"
    if "lambda_aux" in settings:
        assert history[-1]["aux"] > 0, "it tests what it is there for"
    double = model.W_enc.dtype == torch.float64
    tolerance = {"rtol": 1e-9, "atol": 1e-9} if double else {"rtol": 1e-3, "atol": 1e-4}
    first, rows = tensors_and_history(trained / f"{case}.0.safetensors")
    torch.testing.assert_close(first, dict(model.state_dict()), **tolerance)
    second, _ = tensors_and_history(trained / f"{case}.1.safetensors")
    torch.testing.assert_close(second, first, rtol=0, atol=0)
    for row, expected in zip(rows, history, strict=True):
        assert row.keys() == expected.keys()
        names = row.keys() - {"seconds"}
        values = [[float(each[name]) for name in names] for each in (row, expected)]
        np.testing.assert_allclose(*values, rtol=1e-6 if double else 1e-3)


RUN = {**BASE, "activation": "batchtopk", "k": 4, "normalise": True, "steps": 60, "checkpoint_every": 10, **RESAMPLED}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "store.h5"
    write_store(path, X.astype(np.float32))
    return path


def command(store: Path, folder: Path, **settings) -> list[str]:
    words = ["--settings", json.dumps({**RUN, **settings}), "--seed", "3", "--device", "cpu", "--store", str(store)]
    return [str(SCRIPT), *words, "--out", str(folder), "--threads", "2"]


def history(folder: Path) -> list[dict]:
    return without_seconds(read_history(folder / "history.csv"))


def kill_after_a_checkpoint(together, log: Path, folder: Path, processes: int, words: list[str]) -> None:
    children = together.train(log, processes, command=words)
    deadline = time.monotonic() + 120
    while not (folder / "checkpoint.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.001)
    for child in children:
        os.kill(child, signal.SIGKILL)
    assert together.end() == [-signal.SIGKILL] * processes, log.read_text()
    assert (folder / "checkpoint.safetensors").exists()


def test_trainings_that_are_killed_go_on_to_the_same_bits(together, store, tmp_path):
    whole, killed, log = tmp_path / "whole", tmp_path / "killed", tmp_path / "log"
    together.train(log, command=command(store, whole))
    assert together.end() == [0, 0], log.read_text()
    kill_after_a_checkpoint(together, log, killed, 2, command(store, killed))
    together.train(log, command=command(store, killed))
    assert together.end() == [0, 0], log.read_text()
    assert log.read_text().count("resuming from step") == 1, "the first process says so, of the one that was killed"
    for name in ("model.safetensors", "config.json"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
    assert history(killed) == history(whole)
    assert {path.name for path in killed.iterdir()} == {"model.safetensors", "config.json", "history.csv"}
    facts = json.loads((whole / "config.json").read_text())
    assert facts["processes"] == 2
    together.train(log, command=command(store, killed))  # finished: all processes open it
    assert together.end() == [0, 0], log.read_text()
    assert (killed / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


@pytest.mark.slow
def test_a_training_of_one_process_is_gone_on_with_by_several(together, store, tmp_path):
    alone, moved, log = tmp_path / "alone", tmp_path / "moved", tmp_path / "log"
    together.train(log, 1, command=command(store, alone))
    assert together.end() == [0], log.read_text()
    kill_after_a_checkpoint(together, log, moved, 1, command(store, moved))
    together.train(log, command=command(store, moved))
    assert together.end() == [0, 0], log.read_text()
    assert "resuming from step" in log.read_text()
    expected, state = (load_model(folder / "model.safetensors").state_dict() for folder in (alone, moved))
    torch.testing.assert_close(state, expected, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda n: 20, r"checkpoints of different steps, \[0, 20\]; give all processes the same run folder"),
        (lambda n: n // 2, "processes read different first batches; give all of them the same x"),
    ],
)
def test_processes_that_read_different_files_are_refused(other, message):
    class Apart(Processes):
        size = 2

        def counts(self, n):
            return [n, other(n)]

    with pytest.raises(ValueError, match=message):
        training(CASES["topk"], Apart())
