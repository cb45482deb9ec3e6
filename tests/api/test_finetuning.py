"""Dictionaries of a tiny Llama, trained further on its predictions."""

import copy
import itertools
import signal
from functools import partial

import pytest
import torch

import sdlcore as sdl
from sdlcore.inside.behaviour import LanguageBehaviour
from sdlcore.inside.hooks import sites_of
from sdlcore.inside.reader import reader_of
from sdlcore.sources.language.checkpoints import load_whole
from sdlcore.training.normalisation import no_scaling
from tests.sources.language.tiny_llama import SIZES, documents, save_tiny_llama

D, T, LAYER = SIZES["hidden_size"], 16, 2
CPU = torch.device("cpu")
TOPK = {"activation": "topk", "k": 4, "n_q": 40, "log_every": 5}
READING = {"context_length": T, "contexts_per_batch": 4, "progress": False}
FURTHER = {"layer": LAYER, **READING}


@pytest.fixture(scope="module")
def lm(tmp_path_factory):
    return load_whole(save_tiny_llama(tmp_path_factory.mktemp("tiny")))


def activations_of(lm, share=0.0):
    """Return the batches of `finetune` over the same texts, whose first step is 0."""
    reader = reader_of(lm, documents(60), CPU, None, T, 4)
    site = sites_of(sdl.SparseCoder(D, n_q=4).eval(), reader.stack, LAYER)
    return LanguageBehaviour(reader, site["input"], site["input"], reader.kinds(site), no_scaling(D, D), "kl", share)


@pytest.fixture(scope="module")
def batches(lm):
    reader = activations_of(lm)
    return [reader.batch(step)[0].numpy() for step in range(12)]


@pytest.fixture(scope="module")
def sae(batches):
    return sdl.fit(batches.__getitem__, steps=10, normalise=True, progress=False, device="cpu", **TOPK)


def test_the_divergence_falls_below_that_of_as_many_steps_of_reconstruction(lm, sae):
    training = [parameter.requires_grad for parameter in lm.parameters()]
    before, model_weights = sae.W_dec.clone(), {name: weights.clone() for name, weights in lm.state_dict().items()}
    held_out = {"texts": documents(90)[60:], "context_length": T, "contexts": 8, "progress": False}
    further = [sdl.finetune(sae, lm, documents(60), steps=40, share=share, **FURTHER) for share in (0.5, 0.0)]
    kl = [sdl.language_scores(one, lm, **held_out).kl_spliced for one in further]  # they know their layer
    assert kl[0] < kl[1] < sdl.language_scores(sae, lm, layer=LAYER, **held_out).kl_spliced
    tuned, control = further
    latents = tuned.encode(activations_of(lm).batch(0)[0])
    assert (latents != 0).sum(1).max() == TOPK["k"]
    assert tuned.history[-1]["kl"] < tuned.history[0]["kl"]
    assert "kl" not in control.history[0]
    # neither the model nor the start changes
    assert torch.equal(sae.W_dec, before)
    assert all(torch.equal(weights, model_weights[name]) for name, weights in lm.state_dict().items())
    assert [parameter.requires_grad for parameter in lm.parameters()] == training
    assert not any(parameter.grad is not None for parameter in lm.parameters())


def test_a_stopped_training_goes_on_with_its_optimiser_schedule_and_units_to_the_bit(lm, batches, tmp_path):
    """Continuing on reconstruction alone, with the batches that the training would have read, changes nothing."""
    stop, steps = 5, 9
    settings = {"steps": steps, "normalise": True, "lambda_aux": 0.1, "dead_after": 100, "lr_decay": 0.8, **TOPK}

    def read(step):
        return batches[step if step < stop else step - stop]

    whole = sdl.fit(read, progress=False, device="cpu", **settings)
    halt = [lambda row: row["step"] >= stop]
    call = {"out": tmp_path / "run", "keep_state": True, "progress": False, "device": "cpu", **settings}
    half = sdl.fit(read, callbacks=halt, **call)
    assert half.provenance["stopped"]["step"] == stop
    continued = sdl.finetune(tmp_path / "run", lm, documents(60), share=0.0, **FURTHER)
    for name in ("W_enc", "b_enc", "W_dec", "b_dec"):
        assert torch.equal(getattr(continued, name), getattr(whole, name)), name
    assert [row["step"] for row in continued.history] == [steps]
    assert {name: value for name, value in continued.history[-1].items() if name != "seconds"} == {
        name: value for name, value in whole.history[-1].items() if name not in ("seconds", "resampled")
    } | {"resampled": 0}
    how = continued.provenance["finetuned"]
    assert (how["optimizer"], how["from_step"]) == ("continued", stop)
    assert how["start"]["inputs"] == half.provenance["inputs"]
    # weights alone are another start
    (tmp_path / "run" / "state.safetensors").unlink()
    with pytest.warns(UserWarning, match="contains no state of the optimiser, so Adam starts with fresh moments"):
        fresh = sdl.finetune(tmp_path / "run", lm, documents(60), share=0.0, **FURTHER)
    assert fresh.provenance["finetuned"]["optimizer"] == "new"
    assert not torch.equal(fresh.W_dec, whole.W_dec)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupted_call_resumes_to_the_bit_and_a_finished_one_is_opened(lm, sae, tmp_path):
    call = {"steps": 6, **FURTHER}
    whole = sdl.finetune(sae, lm, documents(60), **call)
    passes = []

    def interrupt(*_):
        passes.append(1)
        if len(passes) == 2 * 3:  # in the third step: each has a clean and a spliced pass
            signal.raise_signal(signal.SIGINT)

    settings = {**call, "out": tmp_path / "run"}
    handle = lm.lm_head.register_forward_pre_hook(interrupt)
    with pytest.raises(KeyboardInterrupt, match="interrupted after step 13 of 16; the same call resumes"):
        sdl.finetune(sae, lm, documents(60), **settings)
    handle.remove()
    resumed = sdl.finetune(sae, lm, documents(60), **settings)
    assert torch.equal(resumed.W_dec, whole.W_dec)
    assert torch.equal(resumed.W_enc, whole.W_enc)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "config.json",
        "history.csv",
        "model.safetensors",
    ]
    opened = sdl.finetune(sae, lm, documents(60), **settings)
    assert torch.equal(opened.W_dec, whole.W_dec)
    with pytest.raises(ValueError, match="belongs to a different run"):
        sdl.finetune(sae, lm, documents(60), **settings, lr=1e-4)


FINISHED = {"steps": 2, **FURTHER}
UNFINISHED = {**FINISHED, "log_every": 1, "checkpoint_every": 1}


@pytest.fixture(scope="module")
def runs(lm, sae, tmp_path_factory):
    """Return the folder of a finished fine-tuning, and of an interrupted one, with the same settings."""
    folder = tmp_path_factory.mktemp("runs")
    sdl.finetune(sae, lm, documents(60), out=folder / "finished", **FINISHED)

    def fail(*_):
        if next(passes) == 4:  # in the second step: each has a clean and a spliced pass
            raise KeyboardInterrupt

    passes = itertools.count(1)
    handle = lm.lm_head.register_forward_pre_hook(fail)
    with pytest.raises(KeyboardInterrupt):
        sdl.finetune(sae, lm, documents(60), out=folder / "unfinished", **UNFINISHED)
    handle.remove()
    return folder


OTHERS = [
    ({"texts": documents(30)}, "other text"),
    ({"layer": 1}, "layer 2, here 1"),
    ({"place": "mlp_output"}, "place residual, here mlp_output"),
    ({"drop": ()}, r"drop \['first_position', 'separator', 'outlier'\], here \[\]"),
    ({"context_length": 8}, "context_length 16, here 8"),
    ({"contexts_per_batch": 2}, "contexts_per_batch 4, here 2"),
    ({"share": 0.25}, "share 0.5, here 0.25"),
    ({"lm": "with other weights"}, "other model"),
]


@pytest.mark.parametrize(
    ("folder", "call", "beginning"),
    [
        ("finished", FINISHED, "belongs to a different run"),
        ("unfinished", UNFINISHED, "contains 11 steps of a different"),
    ],
)
@pytest.mark.parametrize(("change", "message"), OTHERS)
def test_a_folder_with_another_run_is_refused(change, message, folder, call, beginning, lm, sae, runs):
    if "lm" in change:
        change = {"lm": copy.deepcopy(lm)}
        change["lm"].lm_head.weight.data[0] += 1
    with pytest.raises(ValueError, match=f"{folder} {beginning}.*{message}"):
        sdl.finetune(sae, **{"lm": lm, "texts": documents(60), "out": runs / folder, **call, **change})


@pytest.mark.usefixtures("interruptible")
def test_an_interrupted_training_is_a_start(lm, batches, tmp_path):
    def interrupt(row):
        signal.raise_signal(signal.SIGINT)

    call = {"steps": 10, "out": tmp_path / "run", "progress": False, "device": "cpu", **TOPK}
    with pytest.raises(KeyboardInterrupt, match="interrupted after step 6 of 10"):
        sdl.fit(batches.__getitem__, callbacks=[interrupt], **call)
    how = sdl.finetune(tmp_path / "run", lm, documents(60), **FURTHER).provenance["finetuned"]
    assert (how["optimizer"], how["from_step"]) == ("continued", 6)


@pytest.mark.parametrize("settings", [{"decoder_norm": "unit"}, {"bias": True}, {"tied": True}])
@pytest.mark.parametrize("normalise", [False, True])
def test_a_start_without_a_state_begins_as_it_is(settings, normalise, lm, batches):
    """Nearly no learning changes nearly nothing: weights pass through other units and back."""
    sae = sdl.fit(batches.__getitem__, steps=10, normalise=normalise, progress=False, device="cpu", **TOPK, **settings)
    same = sdl.finetune(sae, lm, documents(60), steps=1, lr=1e-12, **FURTHER)
    x = torch.from_numpy(batches[0])
    # a few roundings of float32 (2^-24 each) a weight, over sums of D = 24 products
    torch.testing.assert_close(same.reconstruct(x), sae.reconstruct(x), rtol=1e-4, atol=1e-4 * float(x.abs().max()))


def test_a_transcoder_is_trained_where_it_writes(lm):
    transcoders = sdl.fit_layers(
        lm, documents(60), layers=[2], steps=10, batch_size=64, context_length=T, progress=False, device="cpu", **TOPK
    )[0]
    tuned = sdl.finetune(
        transcoders, lm, documents(60), steps=20, share=1.0, objective="cross_entropy", lr=3e-3, **READING
    )
    assert tuned.history[-1]["cross_entropy"] < tuned.history[0]["cross_entropy"]
    assert tuned.provenance["activations"]["where"] == {"layer": 2, "place": "mlp"}


REFUSED = [
    ({"steps": None}, "steps is missing: the start's training is finished"),
    ({"share": 1.5}, "share must be at most 1"),
    ({"k": 8}, "k belongs to the dictionary, which finetune continues"),
    ({"batch_size": 64}, "contexts_per_batch determines the batch"),
    ({"context_length": 65}, "context_length must be between 2 and the model's 64"),
    ({"layer": None}, "layer is missing"),
    ({"drop": ("separators",)}, "must be one of first_position, separator, outlier, found .*separators"),
    ({"objective": "loss"}, "objective"),
    ({"texts": ["river"]}, "too short for one context of 16 tokens"),
    ({"stepz": 3}, "unknown run settings: stepz"),
    ({"seed": 1}, "unknown run settings: seed$"),
]


def of_its_own_optimizer(fit, folder, _):
    fit(out=folder, keep_state=True, optimizer=lambda parameters: torch.optim.SGD(parameters, lr=1e-3))
    return folder


def of_another_dictionary(fit, folder, sae):
    fit(out=folder, keep_state=True)
    copy.deepcopy(sae).save(folder)
    return folder


@pytest.mark.parametrize(
    ("start", "change", "message"),
    [
        *((lambda fit, folder, sae: sae, change, message) for change, message in REFUSED),
        (lambda *_: 3, {}, "start is a int"),
        (of_its_own_optimizer, {}, "its own optimizer, which finetune cannot continue"),
        (of_another_dictionary, {}, "is the state of another dictionary"),
        (
            lambda *_: sdl.Dictionary(sdl.SparseCoder(D, n_q=40)),
            {},
            "activation relu without a penalty in the loss does not keep its L0",
        ),
    ],
)
@pytest.mark.filterwarnings("error:activation relu")
def test_settings_and_starts_that_cannot_be_continued_are_refused_or_warned_of(
    start, change, message, lm, sae, batches, tmp_path
):
    fit = partial(sdl.fit, batches.__getitem__, steps=2, progress=False, device="cpu", **TOPK)
    with pytest.raises((ValueError, UserWarning), match=message):
        sdl.finetune(start(fit, tmp_path / "run", sae), lm, **{"texts": documents(60), "steps": 2, **FURTHER, **change})


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (lambda batches: batches.__getitem__, {}, "keep_state needs out"),
        (iter, {"out": "iterator"}, "keep_state needs batches that can begin anew"),
        (lambda batches: batches.__getitem__, {"out": "without"}, "finished without keep_state; choose another folder"),
    ],
)
def test_keep_state_needs_a_folder_and_a_training(x, options, message, batches, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call = {"steps": 1, "progress": False, "device": "cpu", **TOPK}
    sdl.fit(batches.__getitem__, out="without", **call)
    with pytest.raises(ValueError, match=message):
        sdl.fit(x(batches), keep_state=True, **options, **call)


def test_neighbours_and_archetypes_are_not_continued(lm, batches, tmp_path):
    call = {"steps": 2, "progress": False, "device": "cpu", **TOPK}
    pairs = sdl.fit(lambda step: batches[step][:40].reshape(-1, 2, D), contrast=0.1, **call)
    with pytest.raises(ValueError, match="pairs of neighbouring tokens, which finetune does not form; give contrast=0"):
        sdl.finetune(pairs, lm, documents(60), steps=1, **FURTHER)
    assert "contrast" not in sdl.finetune(pairs, lm, documents(60), steps=1, contrast=0, **FURTHER).history[-1]
    rasae = sdl.fit(batches.__getitem__, archetypes=16, out=tmp_path / "rasae", keep_state=True, **call)
    for start in (rasae, tmp_path / "rasae"):
        with pytest.raises(ValueError, match="computes its decoder rows from archetypes"):
            sdl.finetune(start, lm, documents(60), steps=1, **FURTHER)
