"""The files of runs, for any way of finding a dictionary; here, one that takes no time."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sdlcore.data.writing import create_store
from sdlcore.model.coder import SparseCoder
from sdlcore.model.saving import load_model
from sdlcore.run import ModelConfig, RunConfig
from sdlcore.storage.files import sha256_of
from sdlcore.training.runner import Run, leave_run

CONFIG = RunConfig.from_dict({"n_q": 4, "steps": 3})


@pytest.fixture
def run(tmp_path: Path) -> Run:
    with create_store(tmp_path / "train.h5", {}) as store:
        store.append(np.ones((5, 3), dtype=np.float32))
    files = {name: tmp_path / "deep/run" / name for name in ("model", "config", "history")}
    return Run(seed=7, store=tmp_path / "train.h5", **files)


def leave(run: Run, found: SparseCoder | None = None, **more: object) -> str:
    """Write a run's files and return its identity."""
    seen: list[str] = []

    def find(identity: str) -> SparseCoder | None:
        assert not run.config.exists()
        assert run.model.parent.is_dir()
        seen.append(identity)
        return found

    leave_run(run, CONFIG, find, __file__, **more)
    return seen[0]


def test_the_files_say_what_made_the_dictionary(run: Run, tmp_path: Path):
    model = SparseCoder(ModelConfig(n_q=4), (3,), (3,))
    (tmp_path / "anchors").write_text("anchors")
    inputs = {"anchors": tmp_path / "anchors", "start": None}
    leave(run, model, inputs=inputs, device="cuda", libraries=["scikit-learn"], noted={"processes": 2})
    facts = json.loads(run.config.read_text())
    assert facts["settings"] == CONFIG.to_dict()
    assert (facts["seed"], facts["device"], facts["threads"], facts["processes"]) == (7, "cuda", 1, 2)
    assert list(facts["inputs"]) == ["store", "anchors", "start"]
    assert facts["inputs"]["anchors"] == sha256_of(tmp_path / "anchors")
    assert facts["inputs"]["start"] is None
    assert "scikit-learn" in facts["versions"]
    assert torch.equal(load_model(run.model).W_dec, model.W_dec)
    assert not run.history.exists()


def test_a_process_that_is_not_to_write_leaves_nothing(run: Run):
    leave(run, None)
    assert not run.model.exists()
    assert not run.config.exists()


def test_what_is_noted_makes_no_other_run_and_an_input_does(run: Run, tmp_path: Path):
    (tmp_path / "anchors").write_text("anchors")
    identity = leave(run)
    assert identity == leave(run, noted={"processes": 2})
    assert identity != leave(run, inputs={"anchors": tmp_path / "anchors"})
    assert identity != leave(run, device="cuda")


def test_processes_on_one_machine_share_its_threads(run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    before = torch.get_num_threads()
    try:
        leave(replace(run, threads=9), SparseCoder(ModelConfig(n_q=4), (3,), (3,)))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert json.loads(run.config.read_text())["threads"] == 2
