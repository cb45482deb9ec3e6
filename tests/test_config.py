import json

import pytest

from sdlcore.config import Config, LossConfig, ModelConfig, check_division


def test_settings_survive_json():
    config = Config.from_dict({"activation": "batchtopk", "k": 8, "multi_k": [2, 8], "gradient_clip": None})
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert config.multi_k == (2, 8)


def test_model_and_loss_are_parts_of_the_settings():
    config = Config(activation="jumprelu", n_q=8, l0=0.1, lr=0.01)
    architecture = {name: getattr(config, name) for name in ModelConfig.model_fields}
    assert config.model.to_dict() == architecture
    assert config.loss == LossConfig(l0=0.1)
    assert config.changed(lr=0.02).model == config.model


@pytest.mark.parametrize(
    "other", [{"frozen": "encoder"}, {"frozen": "both"}, {"archetypes": 8}, {"activation": "relu", "k": None}]
)
def test_only_activations_with_k_and_rows_that_can_be_redrawn_are_resampled_by_default(other):
    topk = {"activation": "topk", "k": 2}
    assert Config.from_dict(topk).resample_every == 50
    assert Config.from_dict({**topk, **other}).resample_every is None


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"activation": "topk", "k": 2, "prefixes": [2, 8], "n_q": 8, "init_scale": 1},
        {"activation": "jumprelu", "l0": 0.1, "l0_form": "quadratic", "target_l0": 8.0, "frequency": 0.2},
        {"anchor_form": "matched", "anchor_until": 0.5, "anchor_fall": 0.25, "anchor_cosine": 0.95},
    ],
)
def test_given_settings_are_those_that_differ_from_the_defaults(settings):
    given = Config.from_dict(settings).non_defaults()
    assert given == settings | {"resample_every": 50 if "k" in settings else None}
    assert Config.from_dict(given) == Config.from_dict(settings)


def test_resampling_is_given_always_since_its_default_hangs_on_other_settings():
    config = Config.from_dict({"activation": "relu", "resample_every": 50})
    assert Config.from_dict(config.non_defaults()) == config


@pytest.mark.parametrize(
    ("processes", "contrast", "problem"),
    [
        (4, 0.0, None),
        (8, 0.0, "batch_size = 40 must be a multiple of 8 processes x accumulate = 2 that divide samples"),
        (1, 0.1, None),
        (2, 0.1, "contrast compares all samples of a batch, but processes divide them; train with one process"),
    ],
)
def test_only_equal_parts_of_independent_samples_are_divided(processes, contrast, problem):
    config = Config.from_dict({"n_q": 15, "batch_size": 40, "accumulate": 2, "contrast": contrast})
    assert check_division(config, processes) == problem
