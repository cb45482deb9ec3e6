"""Trainings with the user's callbacks."""

from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import sdlcore as sdl
from sdlcore.dictionary.run_folder import CHECKPOINT
from sdlcore.training.adam import Adam
from sdlcore.training.checkpoint import describe_checkpoint
from tests.data.test_loaders import interrupt
from tests.fitting.test_fitting import QUIET, same

SETTINGS = {"activation": "topk", "k": 3, "n_q": 24, "batch_size": 64, "steps": 30, "log_every": 10, **QUIET}
X = np.random.default_rng(0).standard_normal((640, 8)).astype(np.float32)


def late(row):
    return row["step"] >= 20


def test_a_callback_receives_every_row_and_stops_the_training(tmp_path):
    rows = []
    dictionary = sdl.fit(X, out=tmp_path / "run", callbacks=[late, rows.append], **SETTINGS)
    assert rows == dictionary.history
    assert [row["step"] for row in rows] == [10, 20]
    assert dictionary.provenance["stopped"] == {"step": 20, "by": "a callback"}
    assert same(sdl.fit(X, out=tmp_path / "run", callbacks=[late], **SETTINGS), dictionary)
    with pytest.raises(ValueError, match=r"contains a run that a callback stopped at step 20; open it with sdl.load"):
        sdl.fit(X, out=tmp_path / "run", **SETTINGS)


def test_other_answers_than_true_stop_nothing_and_errors_end_the_training():
    answers = iter([1, "text", None])
    dictionary = sdl.fit(X, callbacks=[lambda row: next(answers), lambda row: row.clear()], **SETTINGS)
    assert dictionary.history[-1]["step"] == 30
    assert "stopped" not in dictionary.provenance
    for kind in (np.bool_, torch.tensor):
        stopped = sdl.fit(X, callbacks=[lambda row, kind=kind: kind(row["step"] == 10)], **SETTINGS)
        assert stopped.history[-1]["step"] == 10
    with pytest.raises(ZeroDivisionError):
        sdl.fit(X, callbacks=[lambda row: 1 / 0], **SETTINGS)


@pytest.mark.usefixtures("interruptible")
def test_a_resumed_training_gives_callbacks_the_rows_from_before_the_interruption(tmp_path, monkeypatch):
    rows = []
    call = partial(sdl.fit, X, out=tmp_path / "run", callbacks=[rows.append], **SETTINGS)
    interrupt(monkeypatch, call, 23)
    rows.clear()
    dictionary = call()
    assert same(dictionary, sdl.fit(X, **SETTINGS))
    assert rows == dictionary.history
    rows.clear()
    assert same(call(), dictionary)
    assert rows == []


@pytest.fixture
def poisoned(monkeypatch):
    """Write a NaN into one weight in the 16th step. No loss shows it: the latent of this row is never active again."""
    step, steps = Adam.step, []

    def counted(self, *arguments):
        step(self, *arguments)
        steps.append(1)
        if len(steps) == 16:
            next(iter(self.state))[3, 5].detach().fill_(torch.nan)

    monkeypatch.setattr(Adam, "step", counted)


@pytest.mark.usefixtures("poisoned")
def test_a_broken_weight_ends_the_training_and_the_last_good_checkpoint_stays(tmp_path):
    message = r"in steps 11 to 20: W_enc\[3, 5\] is nan. Lower lr from 0.001.*Last good checkpoint: of step 10 in"
    with pytest.raises(sdl.DivergedError, match=message) as error:
        sdl.fit(X, out=tmp_path / "run", checkpoint_every=5, **SETTINGS)
    assert "\n" not in str(error.value)
    state = load_file(tmp_path / "run" / CHECKPOINT)
    assert all(value.isfinite().all() for value in state.values())
    assert describe_checkpoint(tmp_path / "run" / CHECKPOINT).step == 10


@pytest.mark.usefixtures("poisoned", "interruptible")
def test_an_interrupt_writes_no_checkpoint_of_broken_weights(tmp_path, monkeypatch):
    interrupt(monkeypatch, partial(sdl.fit, X, out=tmp_path / "run", checkpoint_every=5, **SETTINGS), 17)
    assert describe_checkpoint(tmp_path / "run" / CHECKPOINT).step == 10
