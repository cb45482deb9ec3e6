"""A stream of two models gives the rows of their stores, and a training on it resumes with the same bits."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sdlcore as sdl
from sdlcore.extraction.models import load_any, load_tokenizer
from sdlcore.extraction.stream import TextStream
from sdlcore.random_streams import stream as random_stream
from tests.extraction.tiny_llama import SIZES, WORDS, documents, save_tiny_llama

AT = ["resid_post.1", "resid_post.2"]
READING: dict[str, Any] = {"context_length": 16, "drop": ("first_position", "separator")}
SETTINGS: dict[str, Any] = {"pair": "crosscoder", "activation": "topk", "k": 4, "n_q": 48, "device": "cpu"}
SETTINGS |= {"steps": 40, "checkpoint_every": 8, "progress": False, "normalise": True}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    base = load_any(save_tiny_llama(tmp_path_factory.mktemp("tiny")))
    tuned = copy.deepcopy(base)
    with torch.no_grad():
        tuned.model.layers[1].mlp.down_proj.weight += 0.3
    return [base, tuned]


def pairs(models: list[Any]) -> Any:
    return sdl.stream(models, documents(60), at=AT, batch_size=32, buffer_rows=200, contexts_per_batch=3, **READING)


def test_a_buffer_has_the_rows_of_stores_in_random_order(models: list[Any], tmp_path: Path):
    call = {"progress": False, "batch_size": 3, **READING}
    stores = [
        sdl.extract(model, documents(60), at=place, out=tmp_path / f"{place}.h5", **call)
        for model, place in zip(models, AT, strict=True)
    ]
    columns = [store.read("input").astype(np.float32) for store in stores]
    coming, rows = pairs(models), 6 * 32
    for buffer in (0, 1, 2, 0):
        batches = [coming(step) for step in range(6 * buffer, 6 * buffer + 6)]
        order = random_stream(0, "order", buffer).permutation(rows)
        for values, column in zip(zip(*batches, strict=True), columns, strict=True):
            np.testing.assert_array_equal(np.concatenate(values), column[rows * buffer : rows * (buffer + 1)][order])
    ends = len(columns[0]) // rows  # the buffer that continues at the beginning of the text
    last = np.concatenate([pairs(models)(step)[1] for step in range(6 * ends, 6 * ends + 6)])
    wanted = np.concatenate([columns[1][ends * rows :], columns[1]])[:rows]
    np.testing.assert_array_equal(last, wanted[random_stream(0, "order", ends).permutation(rows)])
    for store in stores:
        store.close()


def test_a_later_step_only_tokenises_the_text_before_it(models: list[Any], monkeypatch: pytest.MonkeyPatch):
    expected, passes = [pairs(models)(step) for step in range(24)][20], []
    run = TextStream._run
    monkeypatch.setattr(TextStream, "_run", lambda *call: passes.append(1) or run(*call))
    np.testing.assert_array_equal(pairs(models)(20), expected)
    assert len(passes) <= 1 + (1 + 200 // (3 * 14))  # of one buffer


class CutOffError(Exception):
    """Stands for a kill."""


def test_a_training_that_was_cut_off_resumes_with_the_same_bits(models: list[Any], tmp_path: Path):
    whole = sdl.fit(pairs(models), out=tmp_path / "whole", **SETTINGS)

    class Cut:
        def __init__(self) -> None:
            self.once = pairs(models)

        def __call__(self, step: int) -> Any:
            if step == 29:
                raise CutOffError
            return self.once(step)

    with pytest.raises(CutOffError):
        sdl.fit(Cut(), out=tmp_path / "cut", **SETTINGS)
    resumed = sdl.fit(pairs(models), out=tmp_path / "cut", **SETTINGS)
    np.testing.assert_array_equal(resumed.W_dec, whole.W_dec)
    np.testing.assert_array_equal(resumed.W_enc, whole.W_enc)


def test_two_places_of_one_model_take_one_pass(models: list[Any], monkeypatch: pytest.MonkeyPatch):
    passes: list[int] = []
    forward = models[0].forward
    monkeypatch.setattr(models[0], "forward", lambda **call: passes.append(1) or forward(**call))
    one = sdl.stream(models[0], documents(60), at=AT, batch_size=32, buffer_rows=32, **READING)
    x, y = one(0)
    assert len(passes) == 1
    assert x.shape == y.shape == (32, 24)
    assert not np.array_equal(x, y)


def test_planted_differences_are_found_from_a_stream_as_from_stores(models: list[Any], tmp_path: Path):
    """In a tuned model, the embeddings of three words move by random directions."""
    base, tuned = models[0], copy.deepcopy(models[0])
    n_p, words = SIZES["hidden_size"], load_tokenizer(base.name_or_path)([f" {word}" for word in WORDS[:3]])
    planted = torch.randn(3, n_p, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for (token,), direction in zip(words["input_ids"], planted, strict=True):
            tuned.model.embed_tokens.weight[token] += direction
    at, settings = "resid_pre.0", SETTINGS | {"k": 1, "n_q": 32, "steps": 400, "lr": 0.01, "normalise": False}
    stores = [
        sdl.extract(model, documents(300), at=at, out=tmp_path / f"{name}.h5", progress=False, **READING)
        for name, model in (("base", base), ("tuned", tuned))
    ]
    coming = sdl.stream([base, tuned], documents(300), at=[at] * 2, batch_size=64, buffer_rows=2048, **READING)
    for coder in (sdl.fit(coming, **settings), sdl.fit(stores, batch_size=64, **settings)):
        base_QD, tuned_QD = torch.as_tensor(coder.W_dec).split(n_p, dim=1)
        cosines = torch.cosine_similarity((tuned_QD - base_QD)[:, None], planted, dim=-1)
        assert cosines.amax(0).min() > 0.95
    for store in stores:
        store.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"at": ["resid_post.1"]}, "a place for each of 2 models"),
        ({"drop": ("outlier",)}, "drop contains outlier"),
        ({"context_length": 99}, "between 2 and the model's 64"),
    ],
)
def test_what_cannot_be_streamed_is_refused(models: list[Any], options: dict[str, Any], message: str):
    call = {"at": AT, "tokenizer": load_tokenizer(models[0].name_or_path), **options}
    with pytest.raises(ValueError, match=message):
        sdl.stream(models, documents(9), **call)
