"""Trainings on batches from the user: loaders, iterables, functions of the step."""

import json
import signal
import weakref
from functools import partial

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import sdlcore as sdl
from sdlcore.data import loaders
from sdlcore.data.arrays import Arrays, digest_of_arrays
from sdlcore.data.batches import BatchReader, Request
from sdlcore.data.loaders import given_batches
from sdlcore.dictionary.run_folder import CHECKPOINT, CONFIG
from sdlcore.random_streams import stream
from sdlcore.training import loop
from tests.fitting.test_fitting import QUIET, same
from tests.refusals import no_warning

SETTINGS = {"activation": "topk", "k": 3, "n_q": 24, "steps": 30, "log_every": 10, **QUIET}
N = 640
X, TARGET = (np.random.default_rng(0).standard_normal((N, d)).astype(np.float32) for d in (8, 6))


def of_step(step, x=X, size=64):
    """Return ten batches, over and over."""
    start = step * size % len(x)
    return x[start : start + size]


def passes():
    for step in range(10):
        yield of_step(step)


class Anew:
    """An iterable whose ``iter`` starts again."""

    def __iter__(self):
        return passes()


def pairs(size=64):
    return DataLoader(TensorDataset(torch.from_numpy(X), torch.from_numpy(TARGET)), batch_size=size)


def loader(size=64):
    """A loader whose batches are lists with one tensor."""
    return DataLoader(TensorDataset(torch.from_numpy(X)), batch_size=size)


def interrupt(monkeypatch, call, step):
    """Interrupt a training within a step."""
    once, steps = loop.TrainingStep.__call__, []

    def counted(self, *args):
        steps.append(1)
        if len(steps) == step:
            signal.raise_signal(signal.SIGINT)
        return once(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(loop.TrainingStep, "__call__", counted)
        with pytest.raises(KeyboardInterrupt):
            call()


def test_batches_of_a_function_train_to_the_bits_of_the_array_that_gives_the_same_batches():
    reader = BatchReader(Arrays(X), "sae", 64, partial(stream, 0, "order"))
    expected = sdl.fit(X, batch_size=64, **SETTINGS)
    dictionary = sdl.fit(lambda step: reader(step)[0], **SETTINGS)
    assert same(dictionary, expected)
    without_time = [[{**row, "seconds": 0} for row in one.history] for one in (dictionary, expected)]
    assert without_time[0] == without_time[1]


@pytest.mark.parametrize("x", [passes, Anew(), loader(), lambda step: torch.from_numpy(of_step(step)).double()])
def test_iterables_and_loaders_give_the_batches_of_a_function_in_every_pass(x):
    assert same(sdl.fit(x, **SETTINGS), sdl.fit(of_step, **SETTINGS))


def test_settings_that_need_all_samples_use_the_first_pass():
    """Ten batches make up the whole array, so mean and scale equal the array's."""
    settings = SETTINGS | {"normalise": True, "initialisation": "samples", "steps": 10}
    dictionary, expected = (
        sdl.fit(x, **settings, lr=1e-30, **more) for x, more in ((loader(), {}), (X, {"batch_size": 64}))
    )
    # a step of 1e-30 is lost in float32's rounding, so only the initial weights, and the mean in b_dec, remain
    assert torch.equal(dictionary.b_dec, expected.b_dec)
    assert torch.equal(dictionary.W_dec, expected.W_dec)
    assert np.array_equal(sample(of_step, 10).read("input"), X)


def sample(x, steps):
    return given_batches(x).begin(Request("sae", 64, 0, steps)).sample()


def test_a_batch_leaves_memory_when_a_later_one_is_read():
    read = given_batches(of_step).begin(Request("sae", 64, 0, 5)).batches
    kept = [weakref.ref(read(step)[0].base) for step in range(5)]
    assert [batch() is None for batch in kept] == [True, True, True, True, False]


def test_the_sample_ends_where_it_is_large_enough(monkeypatch):
    monkeypatch.setattr(loaders, "SAMPLE_ROWS", 100)
    assert sample(of_step, 30).rows == 128
    assert sample(loader(), 1).rows == 64
    assert sample(passes, 30).rows == 128


def test_pairs_train_a_transcoder_or_the_requested_pair():
    dictionary = sdl.fit(pairs(), **SETTINGS)
    expected = sdl.fit(lambda step: (of_step(step), of_step(step, TARGET)), **SETTINGS)
    assert (dictionary.pair, dictionary.W_enc.shape, dictionary.W_dec.shape) == ("transcoder", (24, 8), (24, 6))
    assert same(dictionary, expected)
    crosscoder = sdl.fit(pairs(), pair="crosscoder", normalise=True, **SETTINGS)
    assert (crosscoder.pair, crosscoder.W_dec.shape) == ("crosscoder", (24, 14))


def test_batches_may_differ_in_size_and_share_memory():
    """A smaller last batch; and a function that refills the same array for every batch."""
    dictionary = sdl.fit(loader(100), **SETTINGS | {"steps": 7})
    assert dictionary.history[-1]["samples"] == N
    buffer = np.empty((64, 8), np.float32)

    def refilled(step):
        buffer[:] = of_step(step)
        return buffer

    assert same(sdl.fit(refilled, **SETTINGS), sdl.fit(of_step, **SETTINGS))


def test_provenance_describes_batches_without_their_content(tmp_path):
    sdl.fit(pairs(), out=tmp_path / "run", **SETTINGS)
    facts = json.loads((tmp_path / "run" / CONFIG).read_text())
    inputs = {"kind": "DataLoader", "type": "torch.utils.data.dataset.TensorDataset", "batches": 10}
    inputs |= {"widths": [8, 6], "content": "not recorded"}
    assert facts["identity"]["inputs"]["store"] == inputs
    assert "batch_size" not in {**facts["settings"], **facts["identity"]["settings"]}
    assert sdl.fit(of_step, **SETTINGS).provenance["identity"]["inputs"]["store"] == {
        "kind": "function of the step",
        "type": f"{of_step.__module__}.of_step",
        "widths": [8],
        "first_batch": digest_of_arrays(of_step(0)),
    }


def unless_compared(x, message):
    """Expect a warning, except for a function, whose first batch is compared."""
    return no_warning() if x is of_step else pytest.warns(UserWarning, match=message)


@pytest.mark.parametrize("x", [of_step, passes, Anew(), loader()])
@pytest.mark.usefixtures("interruptible")
def test_an_interrupted_training_goes_on_to_the_bits_of_an_uninterrupted_one(x, tmp_path, monkeypatch):
    call = partial(sdl.fit, x, out=tmp_path / "run", normalise=True, **SETTINGS)
    interrupt(monkeypatch, call, 23)
    assert (tmp_path / "run" / CHECKPOINT).exists()
    with unless_compared(x, "resumed the unfinished run; its batches were not compared"):
        dictionary = call()
    assert same(dictionary, sdl.fit(x, normalise=True, **SETTINGS))
    assert dictionary.history[-1]["samples"] == 30 * 64
    with unless_compared(x, "opened the finished run; its batches were not compared"):
        assert same(call(), dictionary)
    other = DataLoader(TensorDataset(torch.from_numpy(X)), batch_size=32)
    with pytest.raises(ValueError, match="belongs to another run"):
        sdl.fit(other, out=tmp_path / "run", normalise=True, **SETTINGS)


@pytest.mark.usefixtures("interruptible")
def test_a_function_whose_data_changed_is_refused(tmp_path, monkeypatch):
    data = X.copy()

    def batches(step):
        return data[64 * (step % 10) :][:64]

    call = partial(sdl.fit, batches, out=tmp_path / "run", **SETTINGS)
    interrupt(monkeypatch, call, 23)
    data[5] += 1
    with pytest.raises(sdl.SourceError, match=r"belongs to another run: inputs.store.first_batch is"):
        call()
    data[5] = X[5]
    call()
    data[5] += 1
    with pytest.raises(sdl.SourceError, match=r"belongs to another run: inputs.store.first_batch is"):
        call()


class Exhausted:
    """An iterable that does not really start again."""

    def __init__(self):
        self.batches = passes()

    def __iter__(self):
        return self.batches


def wrong_later(step):
    return X[:64, :5] if step == 3 else X[:64]


def not_finite(step):
    return np.where(np.arange(64)[:, None] == 7, np.nan, X[:64]) if step == 3 else X[:64]


@pytest.mark.parametrize(
    ("x", "settings", "message"),
    [
        (of_step, {"batch_size": 64}, "batch_size is the size of the batches that x gives; leave it out"),
        (
            of_step,
            {"target": X},
            r"x gives batches, which hold their targets themselves: pairs \(x, target\); leave target out",
        ),
        (passes(), {}, "x is an iterator, which can be read only once; give a DataLoader"),
        (of_step, {"contrast": 0.5}, "do not say which samples are neighbours; give a store of sdl.extract"),
        (X, {"batch_size": 64, "contrast": 0.5}, "there is no references/document to find neighbours by"),
        (Exhausted(), {}, "x gives no batch in pass 1; give an iterable that can begin anew"),
        (loader(90), {"accumulate": 3}, "batch 7 of x has 10 samples, which accumulate = 3 must divide"),
        (wrong_later, {}, "batch 3 of x has 5 dimensions, but the first has 8"),
        (
            lambda step: (X, X, X),
            {"pair": "sae"},
            "batches of 3 sites, but an autoencoder reads one; set pair to cross",
        ),
        (not_finite, {}, "batch 3: x contains NaN or infinity in row 7; leave such rows out"),
        (
            TensorDataset(torch.from_numpy(X)),
            {},
            r"batch 0: x is float32 of shape \(8,\), expected a matrix",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:activation relu")
def test_what_is_wrong_with_batches_is_named(x, settings, message):
    with pytest.raises(ValueError, match=message):
        sdl.fit(x, **SETTINGS | settings)
