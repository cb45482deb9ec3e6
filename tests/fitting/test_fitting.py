import copy
import itertools
import os
import signal
import warnings
from contextlib import contextmanager

import numpy as np
import pytest
import torch

import sdlcore as sdl
from sdlcore.data.anchors import save_anchors
from sdlcore.data.reading import ActivationStore
from sdlcore.dictionary.run_folder import CHECKPOINT, HISTORY_PART
from sdlcore.model.saving import load_model
from sdlcore.training import loop
from sdlcore.training.history import read_history
from tests.conftest import make_run
from tests.stores import write_store

QUIET = {"progress": False, "device": "cpu"}
TOPK = {"activation": "topk", "k": 3, "n_q": 24, "batch_size": 64, "steps": 30, "log_every": 10}

SMALL = {"n_q": 4, "l1": 0.1, "batch_size": 50, "steps": 2, **QUIET}
ANCHORED = {**SMALL, "lambda_anchor": 1.0}


@pytest.fixture(scope="module")
def bench():
    return sdl.Bench.draw(seed=0, n=12, n_p=8, n_r=8, sparsity=0.85, max_interference=0.5)


@pytest.fixture(scope="module")
def both(bench):
    return bench.sample(3000)


@pytest.fixture
def store(both, tmp_path):
    write_store(tmp_path / "train.h5", both[0], target=both[1])
    return tmp_path / "train.h5"


def weights(dictionary):
    return {name: tensor.clone() for name, tensor in dictionary.coder.state_dict().items()}


def same(one, other):
    return all(torch.equal(tensor, weights(other)[name]) for name, tensor in weights(one).items())


@pytest.mark.parametrize("pair", ["sae", "transcoder", "crosscoder"])
def test_arrays_train_to_the_pipelines_bits(pair, both, store, tmp_path, bench):
    x, target = both
    inputs = {"sae": (x,), "transcoder": (x, target), "crosscoder": ([x, target],)}[pair]
    settings = TOPK | {"lambda_anchor": 0.1, "normalise": True}
    anchors = bench.anchors(3, seed=5)
    dictionary = sdl.fit(*inputs, seed=5, anchors=anchors, **settings, **QUIET)

    save_anchors(tmp_path / "anchors.safetensors", anchors, {})
    anchored = tmp_path / "anchors.safetensors"
    make_run(tmp_path / "run", store, settings | {"pair": pair}, seed=5, anchors=anchored)
    expected = load_model(tmp_path / "run/model.safetensors").state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in weights(dictionary).items())
    loaded = sdl.load(tmp_path / "run")
    assert [row["loss"] for row in loaded.history] == pytest.approx([row["loss"] for row in dictionary.history])


def test_arrays_tensors_files_and_stores_of_the_same_numbers_train_to_the_same_dictionary(both, store, tmp_path):
    x = both[0]
    np.save(tmp_path / "x.npy", x)
    dictionary = sdl.fit(x, **TOPK, **QUIET)
    ways = [torch.from_numpy(x), x.astype(np.float64), tmp_path / "x.npy", str(store)]
    assert all(same(dictionary, sdl.fit(way, **TOPK, **QUIET)) for way in ways)
    with ActivationStore(store) as opened:
        assert same(dictionary, sdl.fit(opened, **TOPK, **QUIET))


def test_another_seed_gives_other_bits(both):
    first, again, other = (sdl.fit(both[0], seed=seed, **TOPK, **QUIET) for seed in (1, 1, 2))
    assert same(first, again)
    assert not same(first, other)


def test_paths_may_begin_with_a_tilde(both, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    np.save(tmp_path / "x.npy", both[0])
    dictionary = sdl.fit("~/x.npy", out="~/run", **SMALL)
    assert same(sdl.load(tmp_path / "run"), dictionary)
    assert list(sdl.fit_many("~/x.npy", {"a": {}}, out="~/many", **SMALL)) == ["a"]
    assert same(sdl.load("~/many/a"), dictionary)


def test_a_store_with_several_sites_and_no_pair_gives_a_warning(store):
    with pytest.warns(UserWarning, match="has 2 sites, and an autoencoder of the first is trained; set pair"):
        sdl.fit(store, **TOPK, **QUIET)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sdl.fit(store, pair="sae", **TOPK, **QUIET)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_arrays_that_torch_does_not_take_are_read_like_others(dtype, both, tmp_path):
    x = both[0].astype(dtype)
    np.save(tmp_path / "x.npy", x)  # which is opened to be read alone
    settings = TOPK | QUIET | {"normalise": True, "initialisation": "samples"}
    dictionary = sdl.fit(x, **settings)
    backwards = np.ascontiguousarray(x[::-1, ::-1])[::-1, ::-1]
    assert all(
        same(dictionary, sdl.fit(way, **settings)) for way in (tmp_path / "x.npy", backwards, np.asfortranarray(x))
    )
    assert sdl.evaluate(dictionary, x=backwards)["fvu"] == sdl.evaluate(dictionary, x=x)["fvu"]


@pytest.fixture(params=[torch.float64, torch.bfloat16])
def other_default(request):
    """Another precision of torch's, as a notebook may have set it, to be switched on in a test."""
    yield lambda: torch.set_default_dtype(request.param)
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    "settings",
    [
        TOPK | {"lambda_aux": 0.1, "resample_every": 10, "dead_after": 500, "normalise": True, "bias": True},
    ],
)
def test_torchs_default_precision_changes_no_bit(settings, both, tmp_path, other_default):
    expected = sdl.fit(both[0], **settings, **QUIET)
    scores = sdl.evaluate(expected, x=both[0])
    expected.save(tmp_path / "run")
    other_default()
    assert same(sdl.fit(both[0], **settings, **QUIET), expected)
    loaded = sdl.load(tmp_path / "run")
    assert same(loaded, expected)
    assert sdl.evaluate(loaded, x=both[0]) == scores


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_notebook_without_gradients_trains_all_the_same(mode, both, bench):
    settings = TOPK | {"normalise": True, "initialisation": "samples", "anchors": bench.anchors(3)}
    start = sdl.fit(both[0], **TOPK, **QUIET)
    expected = sdl.fit(both[0], start=start, **settings, **QUIET)
    with mode():
        dictionary = sdl.fit(both[0], start=sdl.fit(both[0], **TOPK, **QUIET), **settings, **QUIET)
        assert not torch.is_grad_enabled()
    assert same(dictionary, expected)
    assert dictionary.history[-1]["gradient_norm"] > 0
    sae_input = torch.from_numpy(both[0][:5]).requires_grad_()
    dictionary.encode(sae_input).sum().backward()
    assert sae_input.grad.abs().sum() > 0


def test_settings_are_keywords_or_an_object(both):
    config = sdl.Config(**TOPK, lr=0.01)
    dictionary = sdl.fit(both[0], config=config, **QUIET)
    assert same(dictionary, sdl.fit(both[0], **TOPK, lr=0.01, **QUIET))
    assert sdl.fit(both[0], config=config, k=2, **QUIET).settings["k"] == 2
    started = sdl.fit(both[0], config=sdl.Config(steps=1, batch_size=64), start=dictionary, **QUIET)
    assert (started.settings["activation"], started.settings["n_q"]) == ("topk", 24)


def test_anchors_draw_their_latents_to_them(both, bench):
    anchors = bench.anchors(4, seed=0)
    quick = TOPK | {"lr": 1e-2, "steps": 60}
    free = sdl.fit(both[0], **quick, **QUIET)
    tied = sdl.fit(both[0], anchors=anchors, lambda_anchor=1.0, **quick, **QUIET)

    def near(dictionary):
        rows = torch.nn.functional.normalize(dictionary.W_dec[:4])
        return float((rows * torch.from_numpy(anchors.w_p)).sum(1).mean())

    assert near(tied) > near(free) + 0.2
    assert same(tied, sdl.fit(both[0], anchors=anchors.w_p, lambda_anchor=1.0, **quick, **QUIET))


def test_anchors_have_the_papers_weight_unless_they_have_another(both, bench):
    anchors = bench.anchors(3)
    assert sdl.fit(both[0], anchors=anchors, **TOPK, **QUIET).settings["lambda_anchor"] == 0.1
    assert sdl.fit(both[0], anchors=anchors, lambda_anchor=1, **TOPK, **QUIET).settings["lambda_anchor"] == 1
    chosen = sdl.fit(both[0], anchors=anchors, anchor_cosine=0.1, **TOPK | {"steps": 2}, **QUIET)
    assert chosen.settings["anchor_cosine"] == 0.1


def test_a_start_may_be_a_path_and_rows_may_be_watched(both, bench, tmp_path):
    start = sdl.fit(both[0], **TOPK, **QUIET)
    start.save(tmp_path / "run")
    expected = sdl.fit(both[0], start=start, watch=bench, **TOPK, **QUIET)
    dictionary = sdl.fit(both[0], start=str(tmp_path / "run"), watch=bench.W_p.T, **TOPK, **QUIET)
    assert same(dictionary, expected)
    recovery = [[row["gt_recovery_decoder"] for row in one.history] for one in (dictionary, expected)]
    assert recovery[0] == recovery[1]
    assert all(0 <= share <= 1 for share in recovery[0])
    assert len(recovery[0]) == 3


@contextmanager
def ending(monkeypatch, after):
    """Interrupt the trainings of a block after some steps."""
    steps, once = [], loop.TrainingStep.__call__

    def step(self, *args):
        if len(steps) == after:
            raise KeyboardInterrupt
        steps.append(1)
        return once(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(loop.TrainingStep, "__call__", step)
        with pytest.raises(KeyboardInterrupt):
            yield


def cut_off(monkeypatch, x, after=25, **settings):
    """Have a training end after some steps."""
    with ending(monkeypatch, after):
        sdl.fit(x, **{**settings, **QUIET})


def test_a_training_that_is_cut_off_goes_on_from_its_checkpoint(both, tmp_path, monkeypatch):
    folder, settings, once = tmp_path / "run", TOPK | {"checkpoint_every": 10}, loop.TrainingStep.__call__
    whole = sdl.fit(both[0], **settings, **QUIET)
    cut_off(monkeypatch, both[0], out=folder, **settings)
    assert {path.name for path in folder.iterdir()} == {CHECKPOINT, HISTORY_PART}
    assert [row["step"] for row in read_history(folder / HISTORY_PART)] == [10, 20]
    counted = []
    with monkeypatch.context() as patch:
        patch.setattr(loop.TrainingStep, "__call__", lambda self, *args: (counted.append(1), once(self, *args))[1])
        assert same(whole, sdl.fit(both[0], out=folder, **settings, **QUIET))
        finished = sdl.fit(both[0], out=folder, **settings, **QUIET)  # opened
    assert same(whole, finished)
    assert len(counted) == 10
    assert list(finished.history[0]) == list(whole.history[0])  # the columns in their order
    assert same(whole, sdl.load(folder))
    assert not (folder / CHECKPOINT).exists()
    assert not (folder / HISTORY_PART).exists()


@pytest.mark.parametrize("step", [10, 23, 30])  # the last of a row, one within a row, the last of all
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_training_leaves_a_checkpoint_of_its_last_step(
    both, interruptible, tmp_path, monkeypatch, number, step
):
    folder, once, steps = tmp_path / "run", loop.TrainingStep.__call__, []
    whole = sdl.fit(both[0], **TOPK, **QUIET)

    def counted(self, *args):
        steps.append(1)
        if len(steps) == step:
            signal.raise_signal(number)
        return once(self, *args)

    handlers = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    with monkeypatch.context() as patch:
        patch.setattr(loop.TrainingStep, "__call__", counted)
        with pytest.raises((KeyboardInterrupt, SystemExit)) as end:
            sdl.fit(both[0], out=folder, **TOPK, **QUIET)
        assert len(steps) == step
        if number == signal.SIGINT:
            message = (
                f"interrupted after step {step} of 30; the same call resumes from the checkpoint of step {step} in "
            )
            assert str(end.value) == f"{message}{folder / CHECKPOINT}"
        else:
            assert end.value.code == 143
        assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == handlers
        dictionary = sdl.fit(both[0], out=folder, **TOPK, **QUIET)
    assert len(steps) == 30
    assert same(dictionary, whole)
    histories = [[{**row, "seconds": 0} for row in one.history] for one in (dictionary, whole)]
    assert histories[0] == histories[1]


def test_a_second_signal_and_signals_without_a_folder_interrupt_at_once(both, interruptible, tmp_path, monkeypatch):
    once, steps = loop.TrainingStep.__call__, []

    def interrupted(self, *args):
        steps.append(1)
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)  # not reached by the first call
        return once(self, *args)

    monkeypatch.setattr(loop.TrainingStep, "__call__", interrupted)
    for out in (None, tmp_path / "run"):
        with pytest.raises(KeyboardInterrupt) as end:
            sdl.fit(both[0], out=out, **TOPK, **QUIET)
        assert not str(end.value)
    assert len(steps) == 2
    assert not (tmp_path / "run").exists()


def test_a_folder_that_another_call_trains_into_is_refused(both, tmp_path, monkeypatch):
    once, messages = loop.TrainingStep.__call__, set()

    def beside(self, *args):
        with pytest.raises(ValueError, match="run: another process is writing it") as refused:
            sdl.fit(both[0], seed=1, out=tmp_path / "run", **TOPK, **QUIET)
        messages.add(str(refused.value))
        return once(self, *args)

    monkeypatch.setattr(loop.TrainingStep, "__call__", beside)
    sdl.fit(both[0], out=tmp_path / "run", **TOPK, **QUIET)
    assert len(messages) == 1
    assert sdl.load(tmp_path / "run").provenance["seed"] == 0


def test_a_training_that_failed_leaves_no_empty_folder(both, tmp_path):
    with pytest.raises(sdl.DivergedError):
        sdl.fit(both[0], out=tmp_path / "run", **TOPK | {"lr": 1e30}, **QUIET)
    assert not (tmp_path / "run").exists(), "it has no row and no checkpoint"


def test_a_run_saved_into_the_folder_during_training_is_not_overwritten(both, tmp_path, monkeypatch):
    once, other = loop.TrainingStep.__call__, sdl.fit(both[0], seed=1, **TOPK, **QUIET)

    def beside(self, *args):
        other.save(tmp_path / "run")
        return once(self, *args)

    monkeypatch.setattr(loop.TrainingStep, "__call__", beside)
    with pytest.raises(ValueError, match="run belongs to another run: seed is 1, here 0"):
        sdl.fit(both[0], out=tmp_path / "run", **TOPK, **QUIET)
    assert sdl.load(tmp_path / "run").provenance["seed"] == 1


def test_a_finished_run_keeps_no_checkpoint_wherever_a_call_was_cut_off(both, tmp_path):
    folder = tmp_path / "run"
    sdl.fit(both[0], out=folder, **TOPK, **QUIET)
    files = sorted(folder.iterdir())
    (folder / CHECKPOINT).touch()
    (folder / f".{CHECKPOINT}.abcdefgh.part").mkdir()  # of a process that was killed
    sdl.fit(both[0], out=folder, **TOPK, **QUIET)
    assert sorted(folder.iterdir()) == files


def test_a_folder_that_cannot_be_written_is_refused_before_the_training(both, tmp_path, monkeypatch):
    (tmp_path / "taken").write_text("a file")
    monkeypatch.setattr(loop, "TrainingStep", lambda *_: pytest.fail("the training was begun"))
    with pytest.raises(OSError, match="taken'"):
        sdl.fit(both[0], **TOPK, **QUIET, out=tmp_path / "taken")


def test_another_watch_and_another_start_make_another_run(both, bench):
    """Rows of a history share one header, and given initial biases are part of a run's identity."""
    settings = TOPK | {"bias": True}
    start = sdl.fit(both[0], **settings, **QUIET)
    moved, shifted = copy.deepcopy(start), copy.deepcopy(start)
    with torch.no_grad():
        moved.coder.b_enc += 1
        shifted.coder.b_dec += 1
    options = [{"start": start}, {"start": moved}, {"start": shifted}, {"start": start, "watch": bench}, {}]
    runs = [sdl.fit(both[0], **one, **settings, **QUIET).provenance["identity"] for one in options]
    assert not any(one == other for one, other in itertools.combinations(runs, 2))


FEW = {"activation": "topk", "k": 2, "n_q": 8, "batch_size": 64, "steps": 2, **QUIET}
JUMP = {"activation": "jumprelu", "k": None, "l0": 0.1, "init_threshold": 0.3, "lambda_aux": 0.1, "k_aux": 4}
CONSTANT = np.ones((100, 4), dtype=np.float32)


def near_classes(centred):
    """Compute the means of classes that are close to each other, and far from zero."""
    rng = np.random.default_rng(0)
    labels = rng.integers(4, size=400)
    x = (10 + np.eye(4, 16)[labels] + 0.1 * rng.standard_normal((400, 16))).astype(np.float32)
    return sdl.class_means(x, labels, centred=centred)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda x: sdl.fit(x, **FEW | {"activation": "relu", "k": None}),
            "relu without a penalty leaves latents dense",
        ),
        (lambda x: sdl.fit(x, **FEW | {"lr": 1e3, "steps": 20}), r"fvu is \S+ at the end of training, .* lower lr"),
        (
            lambda x: sdl.fit(x * np.float32(1e-6), **FEW | {"steps": 100, "normalise": False}),
            r"fvu is \S+ at the end of training, .* set normalise",
        ),
        (lambda _: sdl.fit(CONSTANT, **FEW), r"variance of the samples is zero in float32, .* \(fvu is NaN\)$"),
        *(
            (
                lambda x, settings=settings: sdl.fit(x + np.float32(3), normalise=False, **FEW, **settings),
                r"mean of the samples is \S+ times as large as their spread, so many latents may die; set normalise",
            )
            for settings in ({"bias": False}, {"bias": True})
        ),
        (
            lambda x: sdl.fit_many(x, {"tame": {}, "wild": {"lr": 1e3, "steps": 20}}, **FEW),
            "^run wild: fvu is .* at the end of training",
        ),
        (
            lambda x: sdl.fit(x, **FEW | JUMP | {"l0": 25}),
            "^l0=25 is the weight of JumpReLU's L0 penalty; for 25 active latents set target_l0=25$",
        ),
        (lambda _: near_classes(centred=False), "nearly parallel .* leave centred"),
    ],
)
def test_settings_that_hardly_help_are_warned_of(call, message, both):
    with pytest.warns(UserWarning, match=message):
        call(both[0])


def test_sound_settings_bring_no_warning(both):
    large = ({"l0": 25, "target_l0": 2}, {"l0": 25, "l0_form": "tanh"})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for far, settings in ((0, {}), (3, {}), (3, {"whiten": True}), (0, JUMP), *((0, JUMP | one) for one in large)):
            sdl.fit(both[0] + np.float32(far), **FEW | settings)
        near_classes(centred=True)
    assert [str(warning.message) for warning in caught] == []


@pytest.mark.parametrize("name", ["x.npy", "x.h5"])
@pytest.mark.parametrize("change", ["cut", "overwritten"])
def test_a_file_that_is_written_to_during_the_training_is_refused_and_nothing_is_saved(
    both, tmp_path, monkeypatch, change, name
):
    path = tmp_path / name
    np.save(path, both[0]) if name == "x.npy" else write_store(path, both[0])
    once = loop.TrainingStep.__call__

    def meanwhile(self, *args):
        if change == "cut":
            os.truncate(path, 4096)
        else:
            os.utime(path)
        return once(self, *args)

    monkeypatch.setattr(loop.TrainingStep, "__call__", meanwhile)
    # an epoch of 46 steps holds all samples in memory; the next one reads them again
    with pytest.raises(ValueError, match=rf"{name}: the file was changed while it was read; repeat the command"):
        sdl.fit(path, out=tmp_path / "run", **{**TOPK, "steps": 60}, **QUIET)
    assert not (tmp_path / "run/model.safetensors").exists()
