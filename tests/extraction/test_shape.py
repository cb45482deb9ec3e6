"""The shape of a language model is what its configuration says, whatever the family calls it."""

import json

import pytest

from sdlcore.extraction.architectures import Paths
from sdlcore.extraction.config import LanguageSource
from sdlcore.extraction.shape import ModelShape, beyond_positions, model_problems, model_shape


@pytest.mark.parametrize(
    "config", [{"num_hidden_layers": 3, "hidden_size": 8}, {"n_layer": 3, "n_embd": 8, "hidden_size": None}]
)
def test_the_configuration_says_it(config, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert model_shape(tmp_path) == ModelShape(3, 8)


@pytest.mark.parametrize("text", [None, "{", "[]", '{"hidden_size": 8}'])
def test_a_configuration_without_a_shape_gives_none(text, tmp_path):
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    assert model_shape(tmp_path) is None


@pytest.mark.parametrize("key", ["max_position_embeddings", "n_positions"])
def test_contexts_may_be_as_long_as_the_model_takes(key, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"n_layer": 3, "n_embd": 8, key: 128}))
    shape = model_shape(tmp_path)
    assert shape.positions == 128
    assert beyond_positions(shape, 128) is None
    assert beyond_positions(shape, 129) == "contexts of 129 tokens, but the model takes 128; take at most that"
    assert beyond_positions(ModelShape(3, 8), 10**6) is beyond_positions(None, 10**6) is None


@pytest.mark.parametrize(
    ("config", "settings", "expected"),
    [
        ({}, {}, []),
        ({"model_type": "mamba"}, {}, [("model", "the model's architecture is 'mamba', but the table has only llama")]),
        ({"model_type": "mamba"}, {"paths": Paths("layers"), "layer": 1}, []),
        (
            {"model_type": "mamba"},
            {"paths": Paths("layers"), "layer": 1, "site": "mlp_input"},
            [
                (
                    "site",
                    "mlp_input: the model's paths do not say where mlp_input is; take one of residual_before, residual",
                )
            ],
        ),
        (
            {"model_type": "phi"},
            {"layer": 3, "site": "residual_middle"},
            [
                ("layer", "layer is 3, but the model has 2 blocks; take at most 2"),
                ("site", "residual_middle: the blocks"),
            ],
        ),
        (
            {"model_type": "llama"},
            {"layers": (1, 4), "context_length": 200},
            [
                ("layers", "layer is 4, but the model has 2"),
                ("context_length", "contexts of 200 tokens, but the model"),
            ],
        ),
        ({"model_type": "llama"}, {"site": "layers.9.mlp:output"}, []),
    ],
)
def test_a_source_is_checked_against_the_configuration_alone(config, settings, expected, tmp_path):
    sizes = {"num_hidden_layers": 2, "hidden_size": 8, "max_position_embeddings": 128}
    if config:
        nested = {"model_type": config["model_type"], "text_config": sizes}
        written = nested if config["model_type"] == "llama" else config | sizes
        (tmp_path / "config.json").write_text(json.dumps(written))
    problems = list(model_problems(tmp_path, LanguageSource("m", "t", **settings)))
    assert [key for key, _ in problems] == [key for key, _ in expected]
    assert all(problem.startswith(start) for (_, problem), (_, start) in zip(problems, expected, strict=True))
