"""Trainings with the user's own optimiser, schedule and callbacks."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.optim import SGD, Adam, RAdam, SparseAdam
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, OneCycleLR, ReduceLROnPlateau

import sdlcore as sdl
from sdlcore.api.run_folder import CHECKPOINT, CONFIG
from sdlcore.training.checkpoint import describe_checkpoint
from tests.api.test_fitting import QUIET, same
from tests.api.test_streams import interrupt

SETTINGS = {"activation": "topk", "k": 3, "n_q": 24, "batch_size": 64, "steps": 30, "log_every": 10, **QUIET}
X = np.random.default_rng(0).standard_normal((640, 8)).astype(np.float32)
radam = partial(RAdam, lr=1e-3)


def by_kind(parameters):
    """Two groups with different learning rates."""
    matrices, vectors = ([p for p in parameters if (p.ndim > 1) == is_matrix] for is_matrix in (True, False))
    return Adam([{"params": matrices, "lr": 1e-3}, {"params": vectors, "lr": 1e-2}])


class Clearing(SGD):
    def step(self, closure=None):
        self.param_groups.clear()


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
    dictionary = sdl.fit(X, optimizer=lambda p: Adam(p, lr=1e-3), **more, **SETTINGS)
    for name in ("W_enc", "W_dec", "b_enc", "b_dec"):
        torch.testing.assert_close(getattr(dictionary, name), getattr(expected, name), rtol=0, atol=1e-6)
    assert [row["lr"] for row in dictionary.history] == [row["lr"] for row in expected.history]
    norms = [[row["gradient_norm"] for row in one.history] for one in (dictionary, expected)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)


def test_a_schedule_drives_the_built_in_adam_and_a_custom_optimiser_alike():
    expected = sdl.fit(X, lr=1e-3, schedule=cosine, **SETTINGS)
    dictionary = sdl.fit(X, optimizer=lambda p: Adam(p, lr=1e-3), schedule=cosine, **SETTINGS)
    torch.testing.assert_close(dictionary.W_enc, expected.W_enc, rtol=0, atol=1e-6)
    for one in (dictionary, expected):
        # at the row's last step, counted from 0: lr (1 + cos(pi t / T)) / 2
        rates = [1e-3 * (1 + np.cos(np.pi * step / 30)) / 2 for step in (9, 19, 29)]
        assert [row["lr"] for row in one.history] == pytest.approx(rates)


def test_groups_of_parameters_keep_the_ratio_of_their_learning_rates():
    rates = []

    def noting(parameters):
        optimizer = by_kind(parameters)
        optimizer.register_step_pre_hook(lambda *_: rates.append([group["lr"] for group in optimizer.param_groups]))
        return optimizer

    dictionary = sdl.fit(X, optimizer=noting, bias=True, lr_warmup=0.1, **SETTINGS)
    assert len(rates) == 30
    assert rates[0] == pytest.approx([1e-3 / 3, 1e-2 / 3])
    assert all(second == pytest.approx(10 * first) for first, second in rates)
    assert [group["lr"] for group in dictionary.provenance["optimizer"]["groups"]] == [1e-3, 1e-2]


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
    dictionary, whole = call(), sdl.fit(X, **parts, **SETTINGS)
    assert same(dictionary, whole)
    assert rows == dictionary.history  # including rows from before the interruption
    assert [row["lr"] for row in rows] == [row["lr"] for row in whole.history]
    assert same(call(), dictionary)
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


class Poisonous(SGD):
    """Writes a NaN into one weight in its 16th step. No loss shows it: the latent of this row is never active again."""

    steps = 0

    def step(self, closure=None):
        super().step(closure)
        self.steps += 1
        if self.steps == 16:
            self.param_groups[0]["params"][0].detach()[3, 5] = torch.nan


BROKEN = {
    "optimizer": (
        {"optimizer": partial(Poisonous, lr=0.01)},
        r"in steps 11 to 20: W_enc\[3, 5\] is nan. Check your optimizer, lower lr from 0.01",
    ),
    "schedule": (
        {"schedule": lambda optimizer: LambdaLR(optimizer, lambda step: torch.nan if step == 16 else 1.0)},
        "in steps 11 to 17: the learning rate of step 17 is nan. Check your schedule, lower lr",
    ),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_part_that_breaks_the_weights_ends_the_training_and_the_last_good_checkpoint_stays(broken, tmp_path):
    parts, message = BROKEN[broken]
    with pytest.raises(
        sdl.DivergedError, match=f"{message}.*Last good checkpoint: of step 10 in .*checkpoint"
    ) as error:
        sdl.fit(X, out=tmp_path / "run", checkpoint_every=5, **parts, **SETTINGS)
    assert "\n" not in str(error.value)
    state = load_file(tmp_path / "run" / CHECKPOINT)
    assert all(value.isfinite().all() for value in state.values())
    assert describe_checkpoint(tmp_path / "run" / CHECKPOINT).step == 10


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_writes_no_checkpoint_of_broken_weights(tmp_path, monkeypatch):
    parts = {"optimizer": partial(Poisonous, lr=0.01), "checkpoint_every": 5}
    interrupt(monkeypatch, partial(sdl.fit, X, out=tmp_path / "run", **parts, **SETTINGS), 17)
    assert describe_checkpoint(tmp_path / "run" / CHECKPOINT).step == 10


def falling(power):
    return lambda optimizer: LambdaLR(optimizer, lambda step: 1 / (1 + step) ** power)


def dipping(optimizer):
    """The schedule `falling(1)`, except in one step that no row of the history shows."""
    return LambdaLR(optimizer, lambda step: 0.5 if step == 5 else 1 / (1 + step))


@pytest.mark.parametrize("parts", [{}, {"optimizer": by_kind}, {"optimizer": partial(SGD, lr=0.1, momentum=0.9)}])
@pytest.mark.usefixtures("interruptible")
def test_a_training_resumes_only_with_the_schedule_that_it_began_with(parts, tmp_path, monkeypatch):
    """Two `LambdaLR` have equal states."""
    call = partial(sdl.fit, X, out=tmp_path / "run", **parts, **SETTINGS)
    interrupt(monkeypatch, partial(call, schedule=falling(1)), 13)
    before = (tmp_path / "run" / CHECKPOINT).read_bytes()
    for other, step in ((falling(2), 2), (dipping, 6)):
        with pytest.raises(ValueError, match=rf"checkpoint.*: schedule gives .* in step {step}, but that step was"):
            call(schedule=other)
        assert (tmp_path / "run" / CHECKPOINT).read_bytes() == before
    dictionary = call(schedule=falling(1))
    assert same(dictionary, sdl.fit(X, schedule=falling(1), **parts, **SETTINGS))
    assert same(call(schedule=falling(1)), dictionary)
    with pytest.raises(ValueError, match=r"history.csv: schedule gives .* in step 10, but that step was taken with"):
        call(schedule=falling(2))


@pytest.mark.usefixtures("interruptible")
def test_a_schedule_that_changes_momentum_resumes_to_the_same_bits(tmp_path, monkeypatch):
    parts = {
        "optimizer": partial(SGD, lr=0.1, momentum=0.9),
        "schedule": lambda optimizer: OneCycleLR(optimizer, 0.1, total_steps=31),
    }
    call = partial(sdl.fit, X, out=tmp_path / "run", **parts, **SETTINGS)
    interrupt(monkeypatch, call, 13)
    assert same(call(), sdl.fit(X, **parts, **SETTINGS))


def test_a_callback_receives_every_row_and_stops_the_training(tmp_path):
    rows = []
    dictionary = sdl.fit(X, out=tmp_path / "run", callbacks=[late, rows.append], **SETTINGS)
    assert rows == dictionary.history
    assert [row["step"] for row in rows] == [10, 20]
    assert dictionary.provenance["stopped"] == {"step": 20, "by": [f"{late.__module__}.late"]}
    assert same(sdl.fit(X, out=tmp_path / "run", callbacks=[late], **SETTINGS), dictionary)
    with pytest.raises(
        ValueError, match=r"contains a run that the callback .*late stopped at step 20; open it with sdl.load"
    ):
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


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"optimizer": radam, "lr": 1e-3}, "lr has no meaning together with optimizer=, which sets it; leave it out"),
        ({"schedule": cosine, "lr_decay": 0.1}, "lr_decay has no meaning together with schedule=, which sets it"),
        ({"optimizer": "adam"}, "optimizer gives a str, expected a function that makes an optimiser from parameters"),
        ({"optimizer": Adam([torch.zeros(1)])}, "optimizer gives a Adam, expected a function"),
        ({"optimizer": lambda p: None}, "optimizer gives a NoneType, expected a function"),
        ({"optimizer": torch.optim.LBFGS}, "LBFGS, which evaluates the loss several times a step; choose another"),
        ({"schedule": lambda optimizer: 0.1}, "schedule gives a float, expected a function that makes a schedule"),
        ({"schedule": ReduceLROnPlateau}, "ReduceLROnPlateau, which needs a metric; choose a step-based schedule"),
        ({"callbacks": print}, "callbacks are a builtin_function_or_method, expected a list of functions"),
        ({"callbacks": 3}, "callbacks are a int, expected a list of functions"),
        ({"callbacks": [late, 3]}, r"callbacks\[1\] is 3, expected a function that takes a row of the history"),
        (
            {"optimizer": lambda p: SGD([{"params": p[:1], "lr": 0.0}, {"params": p[1:]}], lr=0.1)},
            "optimizer gives its first parameter group a learning rate of 0, expected more than 0",
        ),
        ({"optimizer": partial(Clearing, lr=0.1)}, "optimizer has 0 parameter groups after a step, expected 1"),
        ({"optimizer": SparseAdam}, "optimizer gives a SparseAdam, which needs sparse gradients"),
    ],
)
def test_errors_name_the_wrong_custom_part(parts, message):
    with pytest.raises(ValueError, match=message):
        sdl.fit(X, **SETTINGS | parts)


@pytest.mark.parametrize("part", [{"optimizer": radam}, {"schedule": cosine}, {"callbacks": [late]}])
def test_a_solver_takes_no_custom_parts(part):
    with pytest.raises(ValueError, match=f"{next(iter(part))} has no meaning for a solver, which trains nothing"):
        sdl.fit(X, solver="acs", n_atoms=16, **part, **QUIET)
