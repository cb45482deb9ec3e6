"""Every setting changes the dictionary or its history with some activation, or a message names it."""

import warnings
from functools import cache

import numpy as np
import pytest
import torch

import sdlcore as sdl
from sdlcore.config import Config
from tests.fitting.test_fitting import QUIET

X = np.random.default_rng(0).standard_normal((256, 8)).astype(np.float32)
COMMON = {"n_q": 32, "steps": 8, "batch_size": 32, "log_every": 4, "lr": 1e-2, "dead_after": 32, **QUIET}
BASES = {
    "topk": {"activation": "topk", "k": 1, "resample_every": 2},
    "relu": {"activation": "relu", "l1": 0.1, "bias": True},
    "batchtopk": {"activation": "batchtopk", "k": 3},
    "abstopk": {"activation": "abstopk", "k": 3},
    "gated": {"activation": "gated", "l1": 0.1, "bias": True},
    "jumprelu": {"activation": "jumprelu", "l0": 0.1},
    "started": {"activation": "jumprelu", "l0": 0.1, "init_l0": 3},
    "quadratic": {"activation": "jumprelu", "l0": 0.1, "l0_form": "quadratic", "target_l0": 2.0},
    "lista": {"activation": "lista", "k": 3},
    "matching_pursuit": {"activation": "matching_pursuit", "k": 3, "tied": True, "decoder_norm": "unit"},
    "frozen": {"activation": "topk", "k": 3, "bias": True, "frozen": "both"},
}
OTHER = {
    **{"pair": "crosscoder", "activation": "relu", "n_q": 20, "k": 2, "bias": False, "tied": True},
    **{"initialisation": "tied", "init_scale": 0.5, "init_threshold": 0.3, "init_l0": 2, "bandwidth": 0.7},
    **{"ista_step": 0.3, "frozen": "decoder", "decoder_norm": "unit", "archetypes": 4},
    **{"relaxation": 0.5, "skip": True, "loss_scale": "mean"},
    **{"l1": 0.2, "l1_scale": "none", "l1_exponent_end": 0.5, "l1_anneal_start": 0.5, "l0": 0.2, "l0_form": "tanh"},
    **{"frequency": 0.1, "multi_k": [1, 3], "prefixes": [4, 32]},
    **{"prefix_detached": True, "hierarchical": True, "lambda_aux": 0.1, "k_aux": 2, "aux_target": "input"},
    **{"orthogonality": 0.1, "orthogonality_chunk": 4, "contrast": 0.1, "contrast_similarity": "product"},
    **{"lambda_anchor": 0.1, "anchor_form": "cosine", "anchor_until": 0.5, "anchor_fall": 0.5, "anchor_cosine": 0.9},
    **{"penalty_warmup": 0.5, "target_l0": 2.5, "l0_gain": 0.1, "steps": 9, "batch_size": 64, "lr": 3e-2},
    **{"lr_warmup": 0.5, "lr_decay": 0.7, "lr_decay_shape": "cosine", "k_start": 5, "k_decay": 0.9, "accumulate": 2},
    **{"precision": "bfloat16", "weight_decay": 0.1, "gradient_clip": 0.01, "normalise": False, "whiten": True},
    **{"dead_after": 64, "resample_every": 3, "resample_until": 0.3, "reorder_every": 4, "log_every": 3},
    **{"checkpoint_every": 4},
}
"""Each setting of a training, with a value that no base has."""
NEEDS = {
    **{"k_decay": {"k_start": 5}, "l0_gain": {"target_l0": 2.0}},
    **{"prefix_detached": {"prefixes": [4, 32]}, "reorder_every": {"prefixes": [4, 32]}},
    **{"orthogonality_chunk": {"orthogonality": 0.1}},
    **{"l1_anneal_start": {"l1_exponent_end": 0.5}, "init_scale": {"initialisation": "tied"}},
    **{name: {"anchors": np.eye(8)[:2]} for name in ("anchor_form", "anchor_until", "anchor_fall")},
}
"""Settings that act only together with others."""


@cache
def trained(base, name):
    return sdl.fit(X, **COMMON | BASES[base] | NEEDS.get(name, {}))


def alike(one, other):
    states = [dictionary.coder.state_dict() for dictionary in (one, other)]
    if states[0].keys() != states[1].keys() or not all(
        torch.equal(value, states[1][k]) for k, value in states[0].items()
    ):
        return False
    rows = [[{**row, "seconds": 0} for row in dictionary.history] for dictionary in (one, other)]
    return rows[0] == rows[1]


def effect(base, name):
    """Return whether another value of a setting does something, or a message names it."""
    settings = COMMON | BASES[base] | NEEDS.get(name, {})
    if settings.get(name) == OTHER[name]:
        return True
    try:
        before = trained(base, name if name in NEEDS else "")
    except ValueError:  # the activation cannot have what the setting needs
        return False
    with warnings.catch_warnings(record=True) as records:
        warnings.simplefilter("always")
        try:
            dictionary = sdl.fit(X, **settings | {name: OTHER[name]})
        except ValueError as error:
            return name in str(error)
    return any(name in str(one.message) for one in records) or not alike(dictionary, before)


ELSEWHERE = {"checkpoint_every", "relaxation", "contrast_similarity", "k_aux", "aux_target"}
"""The tests of archetypes, contrast and the auxiliary loss vary these, which need neighbours or more steps."""


@pytest.mark.parametrize("name", sorted(Config.model_fields.keys() - ELSEWHERE))
def test_every_setting_has_an_effect(name):
    assert any(effect(base, name) for base in BASES)
