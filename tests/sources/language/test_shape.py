"""The shape of a language model is what its configuration says, whatever the family calls it."""

import json

import pytest

from sdlcore.sources.language.shape import ModelShape, beyond_positions, model_shape


@pytest.mark.parametrize(
    "config", [{"num_hidden_layers": 3, "hidden_size": 8}, {"n_layer": 3, "n_embd": 8, "hidden_size": None}]
)
def test_the_configuration_says_it(config, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert model_shape(tmp_path) == ModelShape(3, 8)


@pytest.mark.parametrize("text", [None, "{", "[]", '{"hidden_size": 8}'])
def test_where_it_is_not_said_it_is_not_known(text, tmp_path):
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
