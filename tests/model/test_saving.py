"""Any content of a model's file gives a model, or an error that names the file."""

import pytest
import torch

from sdlcore.config import ModelConfig
from sdlcore.model.activations.registry import activation
from sdlcore.model.activations.topk import TopK
from sdlcore.model.coder import SparseCoder
from sdlcore.model.saving import empty_model, load_model, load_provenance, save_model
from sdlcore.plugins import registry as plugins
from sdlcore.random_streams import torch_stream
from sdlcore.storage.checksums import write_with_checksum

CONFIG = ModelConfig(activation="topk", k=2, n_q=8)
MODEL = SparseCoder.from_config(CONFIG, (5,), (5,), torch_stream(0, "x")).eval()
TENSORS = {name: tensor.detach().clone() for name, tensor in MODEL.state_dict().items()}
DESCRIPTION = {"model": CONFIG.to_dict(), "input_sites": [5], "target_sites": [5], "provenance": {"made": "here"}}


def write(path, description=DESCRIPTION, tensors=TENSORS):
    write_with_checksum(path, tensors, description, "sdlcore")
    return path


def test_the_file_that_is_crafted_below_is_a_model_without_a_change(tmp_path):
    loaded = load_model(write(tmp_path / "m.safetensors"))
    x = torch.randn(9, 5)
    assert torch.equal(loaded(x).x_hat, MODEL(x).x_hat)
    assert load_provenance(tmp_path / "m.safetensors") == {"made": "here"}


def test_a_described_model_is_in_evaluation_mode_before_its_weights_are_loaded():
    assert not empty_model(DESCRIPTION).training  # SAELens loads weights into it, and never calls eval


def model(**changed):
    return DESCRIPTION | {"model": {**CONFIG.to_dict(), **changed}}


def with_value(value):
    weights = TENSORS["W_dec"].clone()
    weights[3, 2] = value
    return TENSORS | {"W_dec": weights}


def lacking(tensors, name):
    return {key: value for key, value in tensors.items() if key != name}


WRONG = {
    "no settings": (lacking(DESCRIPTION, "model"), TENSORS, "do not describe a model .*model"),
    "unknown setting": (model(surprise=1), TENSORS, "surprise: unknown setting"),
    "value out of bounds": (model(k=9), TENSORS, "k must be at most n_q"),
    "too large for memory": (model(n_q=10**8), TENSORS, r"size mismatch for W_enc"),
    "overflow": (DESCRIPTION | {"target_sites": [2**70]}, TENSORS, "do not describe a model"),
    "other widths": (DESCRIPTION | {"input_sites": [4]}, TENSORS, "size mismatch for W_enc"),
    "missing tensor": (DESCRIPTION, lacking(TENSORS, "b_dec"), 'Missing key.* "b_dec"'),
    "further tensor": (DESCRIPTION, TENSORS | {"sigma.threshold": torch.ones(8)}, "Unexpected key"),
    "NaN": (DESCRIPTION, with_value(float("nan")), r"W_dec\[3, 2\] is nan"),
    "infinity": (DESCRIPTION, with_value(float("-inf")), r"W_dec\[3, 2\] is -inf"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_file_of_no_model_is_refused_by_its_name(tmp_path, case):
    description, tensors, message = WRONG[case]
    with pytest.raises(ValueError, match=rf"m\.safetensors: .*{message}"):
        load_model(write(tmp_path / "m.safetensors", description, tensors))


def test_a_model_whose_activation_is_a_plugins_needs_that_plugin(tmp_path, registry, monkeypatch):
    @activation("own")
    class Own(TopK):
        shrink: float = 0.1

    model = SparseCoder.from_config(ModelConfig("sae", "own", 8, 3, shrink=0.3), (5,), (5,), torch_stream(0, "x"))
    save_model(tmp_path / "model.safetensors", model, {})
    opened = load_model(tmp_path / "model.safetensors")
    assert (opened.config, opened.sigma.shrink) == (model.config, 0.3)
    monkeypatch.setattr(plugins, "_REGISTERED", {})
    message = "model.safetensors: its activation own belongs to the plugin .*test_saving, which is not imported"
    with pytest.raises(ValueError, match=message):
        load_model(tmp_path / "model.safetensors")


def test_saving_a_model_whose_activation_is_of_a_notebook_warns(tmp_path, registry):
    class Own(TopK):
        pass

    Own.__module__ = "__main__"
    activation("own")(Own)
    model = SparseCoder.from_config(ModelConfig("sae", "own", 8, 3), (5,), (5,), torch_stream(0, "x"))
    with pytest.warns(UserWarning, match=r"m\.safetensors: activation own is defined only in this notebook or script"):
        save_model(tmp_path / "m.safetensors", model, {})
