"""Bad calls, and what their errors say: the key or argument, what was expected, and the remedy."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader

import sdlcore as sdl
from sdlcore.data.anchors import Anchors
from sdlcore.sources.files.settings import FileSource

X = np.random.default_rng(0).standard_normal((200, 8)).astype(np.float32)
SMALL = {"activation": "topk", "k": 2, "n_q": 4, "batch_size": 50, "steps": 2, "progress": False, "device": "cpu"}
ANCHORED = {**SMALL, "lambda_anchor": 1.0}
ROWS = {"archetypes": 8, "resample_every": None}


def broken():
    dictionary = sdl.fit(X, **SMALL)
    dictionary.coder.W_dec.data[3, 5] = torch.nan
    return dictionary


SETTINGS = [
    ({"activation": "topk"}, "^activation topk needs k$"),
    ({"k": 4}, "k has no meaning for activation relu; k latents are kept by topk, batchtopk"),
    ({"activation": "TopK", "k": 3}, "^activation: no activation is called TopK; did you mean topk.; expected relu, "),
    ({"activation": "topk", "k": 9, "n_q": 8}, "k must be at most n_q = 8, found 9"),
    (
        {"learning_rate": 0.1, "batchsize": 3},
        "^learning_rate: unknown setting; here it is called lr; batchsize: .* batch_",
    ),
    ({"epochs": 3}, "epochs: unknown setting; set steps to the number of samples divided by batch_size"),
    (
        {"n_q": 0, "lr": "a"},
        "^n_q: Input should be .* equal to 1, found 0; lr: .* a valid number, found 'a'$",
    ),
    ({"lr": float("nan")}, "lr: Input should be a finite number, found nan"),
    ({"pair": "autoencoder"}, "pair: Input should be 'sae', 'transcoder' or 'crosscoder', found 'autoencoder'"),
    ({"prefixes": [8, 4]}, r"prefixes must ascend, found \[8, 4\]"),
    ({"prefixes": [4, 6], "n_q": 8}, r"the last of prefixes \[4, 6\] must be n_q = 8"),
    ({"hierarchical": True}, "hierarchical needs an activation with k, such as topk, found relu"),
    ({"activation": "topk", "k": 4, "multi_k": [2, 8]}, "largest of multi_k .* must be k = 4"),
    ({"activation": "topk", "k": 4, "multi_k": [4], "prefixes": [2, 1024]}, "three multi-scale losses; set only one"),
    ({"l0": 0.1}, "l0 needs activation jumprelu, found relu"),
    ({"activation": "gated"}, "activation gated needs l1"),
    ({"target_l0": 3}, "target_l0 needs l1, l0 or a plugin's penalty"),
    ({"activation": "jumprelu", "l0": 1, "l0_form": "quadratic"}, "quadratic needs target_l0"),
    ({"l1": 1, "l1_exponent_end": 0.2, "activation": "jumprelu", "l0": 1}, "keep l1 as large; leave l0 out"),
    ({"activation": "lista", "k": 2, "pair": "transcoder"}, "activation lista reads the residual of its input"),
    ({"activation": "matching_pursuit", "k": 2, "tied": True}, "set tied true and decoder_norm unit"),
    ({"activation": "omp", "k": 2}, "activation omp searches on known rows; .* call sdl.search"),
    ({"tied": True, "frozen": "decoder"}, "frozen must be none or both, found decoder"),
    ({"skip": True}, "skip needs pair transcoder"),
    ({"frozen": "encoder", "lambda_anchor": 1.0}, "lambda_anchor changes both weights, but frozen is encoder"),
    ({"archetypes": 8, "tied": True}, "archetypes compute the decoder's rows; leave out tied, which sets them too"),
    ({**ROWS, "l1": 1}, "leave out l1 with l1_scale decoder, which reads or moves them"),
    ({"contrast": 0.1, "batch_size": 6, "accumulate": 2}, "must be even and at least 4, found 3"),
    ({"accumulate": 3}, "accumulate = 3 must divide batch_size = 1024"),
    ({"whiten": True, "skip": True, "pair": "transcoder"}, "skip needs activations that are not whitened"),
]
CALLS = [
    (lambda: sdl.fit(X, device="gpu"), r"^device: .*, found 'gpu'; did you mean cuda\?"),
    (lambda: sdl.fit(X, seed=None), "^seed: Input should be a valid integer, found None"),
    (lambda: sdl.Bench.draw(n=64, hierarchy={"parents": 0, "children": 2}), "^hierarchy.parents: Input should be gr"),
    (lambda: FileSource(input=""), "^input: String should have at least 1 character"),
    (lambda: sdl.fit(X, activation="topk", k=3, steps=5), "x: batch_size 1024 exceeds its 200 rows; set batch_size"),
    (lambda: sdl.fit(X.astype(int), **SMALL), r"x is int64 .*; convert it to float32"),
    (lambda: sdl.fit(X[None], **SMALL), r"of shape \(1, 200, 8\), .*; x.reshape\(-1, 8\) makes every position"),
    (lambda: sdl.fit(pd.DataFrame(X)), r"x is a DataFrame, .*; give x.to_numpy\(\)"),
    (lambda: sdl.fit((X, X)), r"x is a tuple of 2, .* fit\(x\[0\]\) for an autoencoder, fit\(\*x\)"),
    (lambda: sdl.fit("a/x.pt"), "x.pt: expected an .npy file of np.save, or an activation store"),
    (lambda: sdl.fit(np.where(np.arange(200)[:, None] == 7, np.nan, X)), "infinity in row 7; leave such rows"),
    (lambda: sdl.fit(X, X[:5]), "^target has 5 rows, but x has 200"),
    (lambda: sdl.fit(X[:0]), "x contains no samples, expected one or more"),
    (lambda: sdl.fit(X, pair="transcoder"), r"call fit\(x, target\)"),
    (lambda: sdl.discover(DataLoader(X)), "x is a DataLoader, expected an array, a tensor or a path"),
    (lambda: sdl.fit(X, **SMALL, watch=np.eye(6)), "watch has 6 dimensions, but x has 8"),
    (lambda: sdl.fit(X, **SMALL, out="run.pt"), "run.pt: expected a folder"),
    (lambda: sdl.fit(X, **SMALL, out=""), r"out is empty, expected a path; the working folder is '\.'"),
    (lambda: sdl.fit(X, **SMALL, start=broken()), r"start: W_dec\[3, 5\] is nan, expected finite weights"),
    (lambda: sdl.fit_many(X, {"a": {"start": broken()}}, **SMALL), r"run 'a': start: W_dec\[3, 5\] is nan"),
    (lambda: sdl.fit(X, **SMALL, lambda_anchor=0.1), "lambda_anchor is 0.1, but no anchors are given; give both"),
    (lambda: sdl.fit(X, **ANCHORED, anchors=2 * np.eye(8)), "anchors: row 0 .* norm 2, expected a unit vector"),
    (lambda: sdl.fit(X, **ANCHORED, anchors=np.eye(9)), "anchors have 9 dimensions, but x has 8"),
    (lambda: sdl.fit(X, **ANCHORED, anchors=np.eye(8)), "there are 8 anchors, but n_q is 4; raise n_q"),
    (
        lambda: sdl.fit(X, X, **ANCHORED, anchors=np.eye(8)[:2]),
        "anchors have 8 dimensions, but the sites of",
    ),
    (
        lambda: sdl.fit(X, **ANCHORED, anchors=sdl.References(np.eye(8))),
        "anchors is a References, expected an array",
    ),
    (lambda: sdl.fit(X, **ANCHORED, anchors=Anchors(np.full((1, 8), np.nan))), "has norm nan"),
    (lambda: sdl.class_means(X, np.eye(2)[np.arange(200) % 2]), r"; labels.argmax\(1\) does of one-hot rows"),
    (lambda: sdl.class_means(X, np.zeros(200)), r"; labels.astype\(int\) gives these"),
    (lambda: sdl.fit(X, **SMALL | {"archetypes": 300}), "archetypes is 300, but there are only 200 samples"),
    (lambda: sdl.SparseCoder(8, lr=0.1), "lr: only sdl.fit has these settings"),
]


@pytest.mark.parametrize(("settings", "message"), SETTINGS)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        sdl.Config(**settings)


@pytest.mark.parametrize(("call", "message"), CALLS)
def test_wrong_calls_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
