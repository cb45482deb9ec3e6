import os
import signal
from concurrent.futures import ThreadPoolExecutor
from threading import Event, get_ident
from unittest.mock import Mock

import numba
import numpy as np
import pytest
import torch

import sdlcore as sdl
from sdlcore.fitting import sweep
from sdlcore.training import loop
from tests.fitting.test_fitting import QUIET, TOPK, ending, same

RUNS = {
    "k3": {},
    "k5": {"k": 5, "normalise": True},
    "seed1": {"seed": 1},
    "relu": {"activation": "relu", "k": None, "l1": 0.1, "lambda_anchor": 0.1, "anchors": np.eye(8)[:2]},
}


@pytest.fixture(scope="module")
def x():
    return sdl.Bench.draw(seed=0, n=12, n_p=8, sparsity=0.85, max_interference=0.5).sample(3000)


@pytest.mark.parametrize("at_once", [1, 2, 4])
def test_each_dictionary_of_a_sweep_is_that_of_a_single_fit(x, at_once):
    threads = torch.get_num_threads()
    dictionaries = sdl.fit_many(x, RUNS, at_once=at_once, **TOPK, **QUIET)
    assert torch.get_num_threads() == threads
    assert list(dictionaries) == list(RUNS)
    for name, settings in RUNS.items():
        alone = sdl.fit(x, **TOPK | settings, **QUIET)
        assert same(dictionaries[name], alone)
        assert dictionaries[name].provenance == alone.provenance
        assert [row | {"seconds": 0} for row in dictionaries[name].history] == [
            row | {"seconds": 0} for row in alone.history
        ]


def test_each_thread_of_a_sweep_makes_the_gpu_its_current_one(x, monkeypatch):
    threads = set[int]()

    def chosen(device):
        threads.add(get_ident())
        return torch.device("cpu")

    monkeypatch.setattr("sdlcore.fitting.sweep.choose_device", chosen)
    sdl.fit_many(x, {0: {}, 1: {}}, at_once=1, **TOPK, **QUIET | {"device": "cuda:1"})
    assert len(threads) == 2  # the caller's, and that of the runs


def test_a_run_that_fails_does_not_lose_the_others(x, tmp_path):
    runs = {"good": {}, "bad": {"lr": 1e30, "gradient_clip": None}, "late": {"seed": 1}}
    with pytest.raises(sdl.FitManyError, match="1 of 3 runs failed: bad") as caught:
        sdl.fit_many(x, runs, out=tmp_path, at_once=1, **TOPK, **QUIET)
    (error,) = caught.value.exceptions
    assert isinstance(error, loop.DivergedError)
    assert error.__notes__ == ["in run bad"]
    assert list(caught.value.dictionaries) == ["good", "late"]
    assert same(caught.value.dictionaries["late"], sdl.load(tmp_path / "late"))


def test_a_run_that_dies_leaves_a_checkpoint_and_is_no_dictionary(x, tmp_path, monkeypatch):
    runs, settings, once = {"good": {}, "bad": {"k": 4}}, TOPK | {"checkpoint_every": 10}, loop.TrainingStep.__call__

    def step(self, x_p, x_r, number, *args):
        if self.model.config.k == 4 and number == 25:
            raise MemoryError
        return once(self, x_p, x_r, number, *args)

    with monkeypatch.context() as patch:
        patch.setattr(loop.TrainingStep, "__call__", step)
        with pytest.raises(sdl.FitManyError, match="1 of 2 runs failed: bad"):
            sdl.fit_many(x, runs, out=tmp_path, **settings, **QUIET)
    assert {path.name for path in (tmp_path / "bad").iterdir()} == {"checkpoint.safetensors", "history.part.csv"}
    with pytest.raises(ValueError, match=r"bad contains an unfinished training\. Repeat the call that started it"):
        sdl.load(tmp_path / "bad")
    again = sdl.fit_many(x, runs, out=tmp_path, **settings, **QUIET)["bad"]
    assert same(again, sdl.fit(x, **settings | {"k": 4}, **QUIET))


def test_runs_take_over_their_own_or_the_common_start(x):
    starts = {k: sdl.fit(x, **TOPK | {"k": k}, **QUIET) for k in (2, 4)}
    dictionaries = sdl.fit_many(x, {"own": {"start": starts[4]}, "common": {}}, start=starts[2], steps=2, **QUIET)
    assert [one.settings["k"] for one in dictionaries.values()] == [4, 2]


def test_a_call_that_was_cut_off_goes_on_where_it_was(x, tmp_path, monkeypatch):
    runs, settings = {"one": {}, "two": {"seed": 1}, "three": {"seed": 2}}, TOPK | {"checkpoint_every": 10}
    whole = sdl.fit_many(x, runs, **settings, **QUIET)
    with ending(monkeypatch, after=45):  # in the second run
        sdl.fit_many(x, runs, out=tmp_path, at_once=1, **settings, **QUIET)
    steps, once = [], loop.TrainingStep.__call__
    with monkeypatch.context() as patch:
        patch.setattr(loop.TrainingStep, "__call__", lambda self, *args: (steps.append(1), once(self, *args))[1])
        dictionaries = sdl.fit_many(x, runs, out=tmp_path, at_once=1, **settings, **QUIET)
        assert len(steps) == 20 + 30
        with pytest.raises(ValueError, match=r"run 'two': .*two belongs to another run: seed is 1, here 3"):
            sdl.fit_many(x, runs | {"two": {"seed": 3}}, out=tmp_path, **settings, **QUIET)
        again = sdl.fit_many(x, runs | {"four": {"seed": 3}}, out=tmp_path, **settings, **QUIET)
        assert len(steps) == 20 + 30 + 30
    for name in runs:
        assert same(dictionaries[name], whole[name])
        assert same(again[name], whole[name])
        assert not (tmp_path / name / "checkpoint.safetensors").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_leaves_a_checkpoint_of_each_runs_last_step(x, number, tmp_path, monkeypatch, caplog):
    runs = {"one": {}, "two": {"seed": 1}, "three": {"seed": 2}}
    whole = sdl.fit_many(x, runs, **TOPK, **QUIET)
    steps, once, ended = [], loop.TrainingStep.__call__, Event()

    def counted(self, *args):
        steps.append(1)
        if len(steps) == 25:
            os.kill(os.getpid(), number)
        if len(steps) >= 25:
            ended.wait(0.01)  # gives the main thread time to notice
        return once(self, *args)

    monkeypatch.setattr(loop.TrainingStep, "__call__", counted)
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises((KeyboardInterrupt, SystemExit)) as error:
        sdl.fit_many(x, runs, out=tmp_path, at_once=2, **TOPK, **QUIET)
    assert f"interrupted; the same call resumes every run in {tmp_path}" in caplog.text
    assert number == signal.SIGINT or error.value.code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == handler
    assert (tmp_path / "one" / "checkpoint.safetensors").exists()
    assert not (tmp_path / "three").exists()
    ended.set()
    dictionaries = sdl.fit_many(x, runs, out=tmp_path, at_once=2, **TOPK, **QUIET)
    assert len(steps) == 3 * 30, "no step was lost"
    assert all(same(dictionaries[name], whole[name]) for name in runs)


def test_numba_without_openmp_and_tbb_trains_one_run_at_a_time(x, monkeypatch):
    monkeypatch.setattr(numba, "threading_layer", lambda: "workqueue")
    monkeypatch.setattr(sweep, "ThreadPoolExecutor", Mock(wraps=ThreadPoolExecutor))
    assert list(sdl.fit_many(x, {"one": {}, "two": {"seed": 1}}, at_once=2, **TOPK, **QUIET)) == ["one", "two"]
    sweep.ThreadPoolExecutor.assert_called_once_with(1, "fit")


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ({"a": {}, "b": {"k": 99}}, "run 'b': k must be at most n_q = 24, found 99"),
        ({"a/b": {}}, "run 'a/b': expected a name that is valid for a folder"),
        ({"a.pt": {}}, "run 'a.pt': a.pt: expected a folder"),
        ({"..": {}}, "run '..': expected a name that is valid for a folder"),
        ({"a": {"pair": "transcoder"}}, "run 'a': pair is transcoder, but the inputs of all runs are for pair sae"),
        ({"a": {"batch_size": 4000}}, "run 'a': x: batch_size 4000 exceeds its 3000 rows"),
    ],
)
def test_what_is_wrong_is_named_before_anything_is_trained(runs, message, x, monkeypatch):
    monkeypatch.setattr(loop, "TrainingStep", None)
    with pytest.raises(ValueError, match=message):
        sdl.fit_many(x, runs, **TOPK, **QUIET)
