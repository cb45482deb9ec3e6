"""Probing classes of documents from few latents."""

import numpy as np
import pytest
import torch

import sdlcore as sdl
from sdlcore.config import ModelConfig
from sdlcore.model.coder import SparseCoder
from sdlcore.random_streams import torch_stream
from tests.stores import write_store

DOCUMENTS, ROWS, D = 60, 5, 8
LABELS = ["sea" if number % 2 else "land" for number in range(DOCUMENTS)]
NUMBERS = np.repeat(np.arange(DOCUMENTS), ROWS)


@pytest.fixture(scope="module")
def x():
    """Rows whose direction 3 is larger in documents of the sea."""
    rng = np.random.default_rng(0)
    x = np.abs(rng.standard_normal((DOCUMENTS * ROWS, D))).astype(np.float32)
    x[NUMBERS % 2 == 1, 3] += 3
    return x


@pytest.fixture(scope="module")
def coder():
    """A dictionary whose latents are the directions."""
    coder = SparseCoder.from_config(ModelConfig("sae", "relu", 16, bias=False), (D,), (D,), torch_stream(0, "x")).eval()
    with torch.no_grad():
        coder.W_enc.zero_()[:D].copy_(torch.eye(D))
    return coder


def test_one_latent_tells_a_class_that_it_stands_for(x, coder):
    scores = sdl.probe(coder, x, LABELS, documents=NUMBERS, k=(1, 4, None))
    best = {(one.features, one.k): one for one in scores if one.label == "sea"}
    assert best["dictionary", 1].auc == best["raw", 1].auc == 1
    assert best["dictionary", 1].balanced_accuracy > 0.9
    assert best["pca", 1].auc > 0.9
    assert {one.features for one in scores} == {"raw", "dictionary", "pca", "null: directions", "null: samples"}
    assert {one.k for one in scores} == {1, 4, None}
    assert len(scores.to_frame()) == 5 * 3 * 2
    assert "mean over 2 classes" in repr(scores)


def test_random_labels_have_an_auc_of_chance(x, coder):
    labels = np.random.default_rng(1).permutation(LABELS)
    means = [
        np.mean([one.auc for one in sdl.probe(coder, x, labels, documents=NUMBERS, k=[1], nulls=False, seed=seed)])
        for seed in range(8)
    ]
    assert 0.35 < np.mean(means) < 0.65  # 18 held-out documents: a standard deviation of some 0.14 each


def test_rows_of_a_store_are_pooled_by_its_documents(x, coder, tmp_path):

    write_store(tmp_path / "a.h5", x, references={"document": NUMBERS})
    labels = {number: label for number, label in enumerate(LABELS) if number < 50}
    call = {"k": [1, None], "nulls": False}
    scores = sdl.probe({"ours": coder}, tmp_path / "a.h5", labels, **call)
    few = NUMBERS < 50
    assert scores == sdl.probe({"ours": coder}, x[few], LABELS[:50], documents=NUMBERS[few], **call)


def test_labels_are_read_as_elsewhere(x, coder):
    """Missing names and numbers below zero mean no class."""
    call = {"documents": NUMBERS, "k": [1], "nulls": False}
    named = [None if number < 20 else label for number, label in enumerate(LABELS)]
    expected = sdl.probe(coder, x, named, **call)
    missing = [float("nan") if label is None else label for label in named]
    assert sdl.probe(coder, x, missing, **call) == expected
    numbers = torch.tensor([-1 if label is None else label == "sea" for label in named]).long()
    scores = sdl.probe(coder, x, numbers, **call)
    assert [one._replace(label=["land", "sea"][int(one.label)]) for one in scores] == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": np.ones((300, 7))}, "expected 8 numbers in the last dimension, found 300 x 7"),
        ({"labels": ["sea"] * DOCUMENTS}, "have 1 classes, of which 1 have 10 documents; expected two classes"),
        ({"labels": ["sea", "land"] * 200, "documents": None}, "labels has 400 entries, but x has documents up to"),
        ({"name": "raw"}, "dictionaries has the name 'raw'"),
    ],
)
def test_what_cannot_be_probed_is_refused(change, message, x, coder):
    call = {"dictionaries": coder, "x": x, "labels": LABELS, "documents": NUMBERS, **change}
    if "name" in change:
        call["dictionaries"] = {call.pop("name"): coder}
    with pytest.raises(ValueError, match=message):
        sdl.probe(**call)
