"""Trial trainings choose the weight of anchors from training data and anchors alone."""

import numpy as np
import pytest
import torch

import sdlcore as sdl
from sdlcore.config import Config, ModelConfig
from sdlcore.data.anchors import Anchors
from sdlcore.model.coder import SparseCoder
from sdlcore.random_streams import stream, torch_stream
from sdlcore.training.train_dictionary import ANCHOR_WEIGHTS, anchored_share, choose_weight

SETTINGS = {"activation": "topk", "k": 3, "n_q": 48, "batch_size": 64, "lr": 1e-2, "anchor_cosine": 0.95}


def chosen(share_of, steps=800):
    tried = []

    def share_held(trial):
        tried.append(trial)
        return share_of(trial.lambda_anchor)

    config = Config.from_dict(SETTINGS | {"steps": steps, "anchor_form": "cosine", "anchor_until": 0.5})
    return choose_weight(config, share_held), tried


def test_the_smallest_weight_that_holds_the_anchors_is_chosen_without_larger_trials():
    weight, tried = chosen(lambda weight: 1.0 if weight >= 0.1 else 0.9)
    assert weight == 0.1
    assert [trial.lambda_anchor for trial in tried] == [w for w in ANCHOR_WEIGHTS if w <= 0.1]


@pytest.mark.parametrize(("steps", "of_a_trial"), [(800, 200), (250, 100), (60, 60)])
def test_a_trial_is_the_run_with_another_weight_and_fewer_steps(steps, of_a_trial):
    _, (trial, *_) = chosen(lambda weight: 1.0, steps)
    expected = SETTINGS | {"anchor_form": "cosine", "anchor_until": 0.5, "steps": of_a_trial}
    assert trial == Config.from_dict(expected | {"anchor_cosine": None, "lambda_anchor": ANCHOR_WEIGHTS[0]})


def test_the_anchored_share_counts_columns_near_an_anchor_with_its_sign():
    model = SparseCoder.from_config(ModelConfig(n_q=4), (3,), (3,), torch_stream(0, "initialisation"))
    anchors = torch.eye(3)
    with torch.no_grad():
        model.W_dec[:3] = torch.tensor([[0.2, 0.01, 0.0], [0.0, -1.0, 0.0], [0.0, 1.0, 1.0]])
    assert anchored_share(model, anchors, 0.95) == pytest.approx(1 / 3)
    assert anchored_share(model, anchors, 0.5) == pytest.approx(2 / 3)


def test_a_training_takes_the_chosen_weight_and_says_so():
    rng = stream(0, "anchored")
    features = np.linalg.qr(rng.standard_normal((12, 12)))[0].astype(np.float32)
    x = (rng.random((1500, 12)) * (rng.random((1500, 12)) < 0.15)).astype(np.float32) @ features

    def trained(settings):
        anchors = Anchors(features[:4])
        dictionary = sdl.fit(x, seed=3, anchors=anchors, steps=120, device="cpu", progress=False, **settings)
        return dictionary.coder, dictionary.history[-1], dictionary.settings

    model, last, settings = trained(SETTINGS)
    weight = last["lambda_anchor"]
    assert weight in ANCHOR_WEIGHTS
    assert anchored_share(model, torch.from_numpy(features[:4]), 0.95) == 1.0
    assert (settings["anchor_cosine"], settings["lambda_anchor"]) == (0.95, 0.0)
    plain = {name: value for name, value in SETTINGS.items() if name != "anchor_cosine"}
    same, last, _ = trained(plain | {"lambda_anchor": weight})
    assert torch.equal(model.W_dec, same.W_dec)
    assert "lambda_anchor" not in last
