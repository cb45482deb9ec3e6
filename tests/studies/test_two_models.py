"""Planted differences between two models, and their baselines."""

import numpy as np
import pandas as pd
import pytest

from studies.synthetic import two_models


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(two_models, "TRAIN", 600)
    monkeypatch.setattr(two_models, "TEST", 300)
    monkeypatch.setattr(two_models, "TRAINING", two_models.TRAINING | {"steps": 3, "batch_size": 64})


@pytest.mark.parametrize("arm", ["planted", "copies", "shuffled"])
def test_features_occur_in_their_models(arm, monkeypatch):
    monkeypatch.setattr(two_models, "NOISE", 0.0)
    both = two_models.models(0, arm)
    kinds = np.array([name.rpartition(" ")[0] for name in both.names])
    base, chat = (np.linalg.norm(rows, axis=1) for rows in both.directions)
    np.testing.assert_allclose(base, kinds != "chat", atol=1e-6)
    expected = np.select([kinds == "base", kinds == "weak in chat"], [0, two_models.WEAK], 1)
    np.testing.assert_allclose(chat, base if arm == "copies" else expected, atol=1e-6)
    x_base, x_chat = both.test
    assert np.array_equal(x_base, x_chat) == (arm == "copies")
    without = ~both.present[:, kinds != "base"].any(axis=1)  # samples without a feature of chat
    if arm != "copies":
        assert x_chat[without].any() == (arm == "shuffled")


def test_each_arm_is_judged_by_both_rules():
    rows = pd.DataFrame(two_models.measure("topk", 0))
    assert set(map(tuple, rows[["arm", "rule"]].to_numpy())) == {
        (arm, rule) for arm in two_models.ARMS for rule in two_models.RULES
    }


def test_dedicated_latents_need_the_name_of_a_feature_of_their_model():
    dedicated = np.array(["base", "base", "chat", "chat", ""], dtype=object)
    named = np.array(["base 1", "base 1", "base 2", "weak in chat 0", "chat 1"])
    assert two_models.judged(dedicated, named) == {"dedicated": 4, "right": 2, "found": 1, "weak": 1}
