"""Trainings with the user's own optimiser, schedule and callbacks."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from torch.optim import SGD, Adam, RAdam
from torch.optim.lr_scheduler import CosineAnnealingLR, ReduceLROnPlateau

import sdlcore as sdl
from sdlcore.api.run_folder import CONFIG
from tests.api.test_fitting import QUIET, same
from tests.api.test_streams import interrupt

SETTINGS = {"activation": "topk", "k": 3, "n_q": 24, "batch_size": 64, "steps": 30, "log_every": 10, **QUIET}
X = np.random.default_rng(0).standard_normal((640, 8)).astype(np.float32)
radam = partial(RAdam, lr=1e-3)


def by_kind(parameters):
    """Two groups with different learning rates."""
    matrices, vectors = ([p for p in parameters if (p.ndim > 1) == wanted] for wanted in (True, False))
    return Adam([{"params": matrices, "lr": 1e-3}, {"params": vectors, "lr": 1e-2}])


def cosine(optimizer):
    return CosineAnnealingLR(optimizer, 30)


def late(row):
    return row["step"] >= 20


@pytest.mark.parametrize("more", [{}, {"decoder_norm": "unit", "bias": True}, {"gradient_clip": None, "lr_decay": 0.0}])
def test_torchs_adam_trains_to_the_built_in_one_up_to_rounding(more):
    """A step moves a weight by some lr = 1e-3. Its direction is computed by some ten operations in float32, each with a
    relative error of 6e-8 (2^-24), and the moments carry errors on: 30 steps of 1e-3 x 10 x 6e-8 x 30, some 2e-8 x 30.
    """
    expected = sdl.fit(X, lr=1e-3, **more, **SETTINGS)
    found = sdl.fit(X, optimizer=lambda p: Adam(p, lr=1e-3), **more, **SETTINGS)
    for name in ("W_enc", "W_dec", "b_enc", "b_dec"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=0, atol=1e-6)
    assert [row["lr"] for row in found.history] == [row["lr"] for row in expected.history]
    norms = [[row["gradient_norm"] for row in one.history] for one in (found, expected)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)


def test_a_schedule_drives_the_built_in_adam_and_an_own_optimiser_alike():
    expected = sdl.fit(X, lr=1e-3, schedule=cosine, **SETTINGS)
    found = sdl.fit(X, optimizer=lambda p: Adam(p, lr=1e-3), schedule=cosine, **SETTINGS)
    torch.testing.assert_close(found.W_enc, expected.W_enc, rtol=0, atol=1e-6)
    for one in (found, expected):
        # at the row's last step, counted from 0: lr (1 + cos(pi t / T)) / 2
        rates = [1e-3 * (1 + np.cos(np.pi * step / 30)) / 2 for step in (9, 19, 29)]
        assert [row["lr"] for row in one.history] == pytest.approx(rates)


def test_groups_of_parameters_keep_the_ratio_of_their_learning_rates():
    rates = []

    def noting(parameters):
        optimizer = by_kind(parameters)
        optimizer.register_step_pre_hook(lambda *_: rates.append([group["lr"] for group in optimizer.param_groups]))
        return optimizer

    found = sdl.fit(X, optimizer=noting, bias=True, lr_warmup=0.1, **SETTINGS)
    assert len(rates) == 30
    assert rates[0] == pytest.approx([1e-3 / 3, 1e-2 / 3])
    assert all(second == pytest.approx(10 * first) for first, second in rates)
    assert [group["lr"] for group in found.provenance["optimizer"]["groups"]] == [1e-3, 1e-2]


@pytest.mark.parametrize(
    "parts",
    [
        {"optimizer": radam},
        {"schedule": cosine},
        {"optimizer": partial(SGD, lr=0.1, momentum=0.9), "schedule": cosine, "decoder_norm": "unit"},
        {"optimizer": by_kind, "bias": True, "resample_every": 10, "dead_after": 200},
    ],
)
@pytest.mark.usefixtures("interruptible")
def test_an_interrupted_training_goes_on_to_the_bits_of_an_uninterrupted_one(parts, tmp_path, monkeypatch):
    rows = []
    call = partial(sdl.fit, X, out=tmp_path / "run", callbacks=[rows.append], **parts, **SETTINGS)
    interrupt(monkeypatch, call, 23)
    rows.clear()
    found, whole = call(), sdl.fit(X, **parts, **SETTINGS)
    assert same(found, whole)
    assert rows == found.history  # including rows from before the interruption
    assert [row["lr"] for row in rows] == [row["lr"] for row in whole.history]
    assert same(call(), found)
    with pytest.raises(ValueError, match="belongs to a different run"):
        sdl.fit(X, out=tmp_path / "run", **SETTINGS)


def test_provenance_names_optimiser_and_schedule_and_another_one_is_another_run(tmp_path):
    sdl.fit(X, out=tmp_path / "run", optimizer=radam, schedule=cosine, **SETTINGS)
    facts = json.loads((tmp_path / "run" / CONFIG).read_text())
    assert facts["optimizer"]["type"] == "torch.optim.radam.RAdam"
    assert facts["optimizer"]["defaults"]["lr"] == 1e-3
    assert facts["schedule"]["type"] == "torch.optim.lr_scheduler.CosineAnnealingLR"
    assert facts["schedule"]["state"]["T_max"] == 30
    assert not {"lr", "weight_decay", "lr_warmup", "lr_decay", "lr_decay_shape"} & facts["settings"].keys()
    for other in ({"optimizer": partial(RAdam, lr=2e-3), "schedule": cosine}, {"optimizer": radam}):
        with pytest.raises(ValueError, match=r"other optimizer|other schedule"):
            sdl.fit(X, out=tmp_path / "run", **other, **SETTINGS)


def test_a_callback_receives_every_row_and_stops_the_training(tmp_path):
    rows = []
    found = sdl.fit(X, out=tmp_path / "run", callbacks=[late, rows.append], **SETTINGS)
    assert rows == found.history
    assert [row["step"] for row in rows] == [10, 20]
    assert found.provenance["stopped"] == {"step": 20, "by": [f"{late.__module__}.late"]}
    assert same(sdl.fit(X, out=tmp_path / "run", callbacks=[late], **SETTINGS), found)
    with pytest.raises(
        ValueError, match=r"contains a run that the callback .*late stopped at step 20; open it with sdl.load"
    ):
        sdl.fit(X, out=tmp_path / "run", **SETTINGS)


def test_other_answers_than_true_stop_nothing_and_errors_end_the_training():
    answers = iter([1, "text", None])
    found = sdl.fit(X, callbacks=[lambda row: next(answers), lambda row: row.clear()], **SETTINGS)
    assert found.history[-1]["step"] == 30
    assert "stopped" not in found.provenance
    assert sdl.fit(X, callbacks=[lambda row: np.bool_(row["step"] == 10)], **SETTINGS).history[-1]["step"] == 10
    with pytest.raises(ZeroDivisionError):
        sdl.fit(X, callbacks=[lambda row: 1 / 0], **SETTINGS)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"optimizer": radam, "lr": 1e-3}, "lr has no meaning together with optimizer=, which sets it; leave it out"),
        ({"schedule": cosine, "lr_decay": 0.1}, "lr_decay has no meaning together with schedule=, which sets it"),
        ({"optimizer": "adam"}, "optimizer gives a str, expected a function that makes an optimiser from parameters"),
        ({"optimizer": Adam([torch.zeros(1)])}, "optimizer gives a Adam, expected a function"),
        ({"optimizer": lambda p: None}, "optimizer gives a NoneType, expected a function"),
        ({"optimizer": torch.optim.LBFGS}, "LBFGS, which evaluates the loss several times a step; choose another"),
        ({"schedule": lambda optimizer: 0.1}, "schedule gives a float, expected a function that makes a schedule"),
        (
            {"schedule": ReduceLROnPlateau},
            "ReduceLROnPlateau, which needs a metric; choose a step-based schedule",
        ),
    ],
)
def test_what_is_wrong_with_own_parts_is_named(given, said):
    with pytest.raises(ValueError, match=said):
        sdl.fit(X, **SETTINGS | given)


@pytest.mark.parametrize("part", [{"optimizer": radam}, {"schedule": cosine}, {"callbacks": [late]}])
def test_a_solver_has_no_own_parts(part):
    with pytest.raises(ValueError, match=f"{next(iter(part))} has no meaning for a solver, which trains nothing"):
        sdl.fit(X, solver="acs", n_atoms=16, **part, **QUIET)
