"""The shape of a language model is what its configuration says, whatever the family calls it."""

import json

import pytest

from sdlcore.extraction.config import LanguageSource, ModelShape, model_problems, model_shape


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


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"layer": 3}, [("layer", "layer is 3, but the model has 2 blocks; take at most 2")]),
        (
            {"layers": (1, 2), "context_length": 200},
            [("context_length", "contexts of 200 tokens, but the model")],
        ),
        ({"site": "layers.9.mlp:output"}, []),
    ],
)
def test_a_source_is_compared_with_the_configuration_alone(settings, expected, tmp_path):
    sizes = {"num_hidden_layers": 2, "hidden_size": 8, "max_position_embeddings": 128}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", "text_config": sizes}))
    problems = list(model_problems(model_shape(tmp_path), LanguageSource("m", "t", **settings)))
    starts = [(key, problem[: len(start)]) for (key, problem), (_, start) in zip(problems, expected, strict=True)]
    assert starts == expected
