import json

import pytest

from sdlcore.run import LossConfig, ModelConfig, RunConfig, TrainingConfig, check_division

ARCHETYPES = {"archetypes": 8, "resample_every": None}


def test_settings_survive_json():
    config = RunConfig.from_dict({"activation": "batchtopk", "k": 8, "multi_k": [2, 8], "gradient_clip": None})
    assert RunConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert config.loss.multi_k == (2, 8)


def test_keys_are_unique_over_the_parts():
    names = [name for part in (ModelConfig, LossConfig, TrainingConfig) for name in part.model_fields]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"activation": "topk"}, "needs k"),
        ({"activation": "relu", "k": 4}, "k has no meaning for activation relu; k latents are kept by topk, batchtopk"),
        ({"activation": "topk", "k": 2000, "n_q": 100}, "between 1 and n_q = 100"),
        ({"activation": "relu", "k": 3}, "no meaning"),
        ({"activation": "sigmoid"}, "relu, jumprelu, topk, batchtopk"),
        ({"pair": "autoencoder"}, "sae, transcoder, crosscoder"),
        ({"multi_k": [2]}, "multi_k needs an activation with k, such as topk"),
        ({"activation": "topk", "k": 4, "multi_k": [2, 8]}, "must be k = 4"),
        ({"hierarchical": True}, "hierarchical needs an activation with k, such as topk, found relu"),
        ({"activation": "topk", "k": 4, "multi_k": [4], "prefixes": [2, 8]}, "multi-scale losses; set only one"),
        ({"hierarchical": True, "prefixes": [2, 8]}, "hierarchical, multi_k and prefixes are three multi-scale losses"),
        ({"l0": 0.1}, "l0 needs activation jumprelu"),
        ({"l1_exponent_end": 0.2}, "l1_exponent_end needs l1, whose exponent it anneals"),
        ({"l1": 1, "l1_exponent_end": 0.2, "activation": "jumprelu", "l0": 1}, "to keep l1 as large; leave l0 out"),
        ({"prefix_detached": True}, "prefix_detached needs prefixes, whose sums it detaches"),
        ({"reorder_every": 5}, "reorder_every needs prefixes, which it sorts latents for"),
        ({"prefixes": [2, 8], "n_q": 8, "reorder_every": 5, "lambda_anchor": 1}, "but anchors hold the first ones"),
        ({"k_start": 8}, "k_start needs an activation with k, such as topk, found relu"),
        ({"activation": "topk", "k": 2, "n_q": 8, "k_start": 9}, "k_start must be at most n_q = 8, found 9"),
        ({"activation": "topk", "k": 2, "hierarchical": True, "k_start": 9}, "hierarchical trains every k up to k"),
        ({"frequency": 0.1}, "frequency needs activation jumprelu"),
        ({"activation": "jumprelu", "l0_form": "tanh"}, "l0_form tanh needs l0, the weight of that penalty"),
        ({"activation": "jumprelu", "l0": 1, "l0_form": "quadratic"}, "quadratic needs target_l0, which L0"),
        ({"activation": "lista", "k": 2, "pair": "transcoder"}, "lista needs pair sae or crosscoder"),
        ({"activation": "matching_pursuit", "k": 2, "tied": True}, "set tied true and decoder_norm unit"),
        ({"tied": True, "pair": "transcoder"}, "tied needs pair sae or crosscoder"),
        ({"tied": True, "frozen": "decoder"}, "frozen must be none or both, found decoder"),
        ({"frozen": "encoder", "lambda_anchor": 1.0}, "moves both weights, but frozen is encoder"),
        ({"frozen": "both", "resample_every": 2}, "resample_every redraws rows of both weights, but frozen is both"),
        ({"frozen": "encoder", "resample_every": 2}, "resample_every .* frozen is encoder"),
        ({"activation": "jumprelu", "init_threshold": 0}, "init_threshold must be above 0, found 0"),
        ({"frozen": "both", "anchor_cosine": 0.9}, "moves both weights, but frozen is both"),
        ({"lambda_anchor": 1.0, "anchor_cosine": 0.9}, "anchor_cosine chooses lambda_anchor"),
        ({"anchor_form": "cosine"}, "anchor_form needs lambda_anchor or anchor_cosine"),
        ({"contrast": 0.1, "batch_size": 6, "accumulate": 2}, "batch_size 6 / accumulate 2 must be even"),
        ({"contrast": 0.1, "batch_size": 2}, "contrast compares two or more pairs: batch_size 2 must be even and"),
        ({"archetypes": 8, "tied": True}, "archetypes compute the decoder's rows; leave out tied, which sets them too"),
        ({"archetypes": 8, "frozen": "both"}, "leave out frozen both"),
        ({"archetypes": 8, "decoder_norm": "unit"}, "leave out decoder_norm unit"),
        ({"archetypes": 8, "initialisation": "samples"}, "leave out initialisation samples"),
        ({"archetypes": 8, "resample_every": 5}, "leave out resample_every, which reads or moves them"),
        ({**ARCHETYPES, "anchor_cosine": 0.9}, "leave out anchor_cosine, which reads or moves them"),
        ({**ARCHETYPES, "activation": "relu", "l1": 1}, "leave out l1 with l1_scale decoder"),
        ({**ARCHETYPES, "activation": "jumprelu", "l0": 1, "l0_form": "tanh"}, "leave out l0_form tanh"),
        ({**ARCHETYPES, "activation": "gated", "l1": 1, "l1_scale": "none"}, "leave out activation gated"),
        ({**ARCHETYPES, "activation": "lista", "k": 2}, "leave out activation lista"),
        ({**ARCHETYPES, "activation": "topk", "k": 2, "hierarchical": True}, "leave out hierarchical"),
        ({**ARCHETYPES, "orthogonality": 0.1}, "leave out orthogonality"),
        ({"lr_decay_shape": "cosine", "lr_decay": 0}, "lr_decay_shape is cosine, but lr_decay is 0"),
        ({"anchor_until": 0.5}, "anchor_until needs lambda_anchor or anchor_cosine"),
        ({"lambda_anchor": 1.0, "anchor_until": 0.0}, "anchor_until must be above 0"),
        ({"weight_decay": -0.1}, "weight_decay"),
        ({"whiten": True, "skip": True, "pair": "transcoder"}, "skip needs activations that are not whitened"),
        ({"learning_rate": 0.1}, "unknown run settings: learning_rate"),
        ({"activation": "topk", "k": 3, "pursuit": 4}, "pursuit is no setting of a training"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        RunConfig.from_dict(settings)


@pytest.mark.parametrize(
    "other", [{"frozen": "encoder"}, {"frozen": "both"}, {"archetypes": 8}, {"activation": "relu", "k": None}]
)
def test_only_activations_with_k_and_rows_that_can_be_redrawn_are_resampled_by_default(other):
    topk = {"activation": "topk", "k": 2}
    assert RunConfig.from_dict(topk).training.resample_every == 50
    assert RunConfig.from_dict({**topk, **other}).training.resample_every is None


def test_whitening_replaces_normalisation():
    assert RunConfig.from_dict({"whiten": True}).training.whiten


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
    given = RunConfig.from_dict(settings).given()
    assert given == settings | {"resample_every": 50 if "k" in settings else None}
    assert RunConfig.from_dict(given) == RunConfig.from_dict(settings)


def test_resampling_is_given_always_since_its_default_hangs_on_other_settings():
    config = RunConfig.from_dict({"activation": "relu", "resample_every": 50})
    assert RunConfig.from_dict(config.given()) == config


@pytest.mark.parametrize(
    ("processes", "split", "problem"),
    [
        (1, "latents", None),
        (4, "samples", None),
        (5, "latents", None),
        (8, "samples", "batch_size = 40 must be a multiple of 8 processes x accumulate = 2 that divide samples"),
        (4, "latents", "n_q = 15 must be a multiple of 4 processes that divide latents"),
    ],
)
def test_only_equal_parts_are_divided(processes, split, problem):
    config = RunConfig.from_dict({"n_q": 15, "batch_size": 40, "accumulate": 2})
    assert check_division(config, processes, split) == problem


def test_processes_that_divide_samples_cannot_compare_them():
    config = RunConfig.from_dict({"contrast": 0.1})
    assert "contrast compares all samples of a batch" in (check_division(config, 2, "samples") or "")
    assert check_division(config, 2, "latents") is None


@pytest.mark.parametrize(
    ("settings", "split"),
    [({"contrast": 0.1}, "samples"), ({"prefixes": [2, 15], "n_q": 15, "reorder_every": 5}, "latents")],
)
def test_one_process_divides_nothing(settings, split):
    assert check_division(RunConfig.from_dict(settings), 1, split) is None
