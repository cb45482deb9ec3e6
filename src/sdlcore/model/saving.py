"""Save and load models: one safetensors file each, with configuration and provenance in its metadata."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sdlcore.config import ModelConfig
from sdlcore.errors import SourceError
from sdlcore.model.coder import SparseCoder
from sdlcore.model.finite import not_finite
from sdlcore.plugins.registry import extensions, registered
from sdlcore.settings import Json
from sdlcore.storage.checksums import read_with_checksum, write_with_checksum
from sdlcore.user_warnings import warn_at_call

ENTRY = "sdlcore"
"""Key of the file's metadata that describes the model."""


def save_model(path: str | Path, model: SparseCoder, provenance: Mapping[str, Json]) -> None:
    """Write ``model`` as safetensors, in float32, with its configuration and provenance as metadata.

    The file can be opened on its own; if a plugin defines the activation, it also needs the plugin. A plugin in the
    main script or notebook causes a warning, since nothing else can import it.

    Raises
    ------
    ValueError
        If a weight is not finite, because `load_model` would refuse the file.
    """
    description = description_of(model)
    if description.get("plugin") == "__main__":
        warn_at_call(
            f"{path}: activation {model.config.activation} is defined only in this notebook or script, so nothing else "
            "can open the file; move it to a module of its own"
        )
    tensors = tensors_of(model)
    check_finite(path, tensors)
    write_with_checksum(path, tensors, {**description, "provenance": provenance}, ENTRY)


def description_of(model: SparseCoder) -> dict[str, Json]:
    """Return what `build_model` needs beside the weights: settings, widths of sites, the plugin of the activation."""
    description: dict[str, Json] = {
        "model": model.config.to_dict(),
        "input_sites": model.input_sites,
        "target_sites": model.target_sites,
    }
    if plugin := registered("activation", model.config.activation):
        description["plugin"] = plugin.module
    return description


def tensors_of(model: SparseCoder) -> dict[str, Tensor]:
    """Return the weights by name, in float32 on the CPU; no two share memory, which safetensors would refuse."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    tensors = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    if model.W_dec is model.W_enc:
        tensors["W_dec"] = tensors["W_enc"].clone()
    return tensors


def check_finite(path: str | Path, weights: Mapping[str, Tensor]) -> None:
    """Raise `SourceError`, naming file and weight, if a weight in a file or to be written is not finite."""
    if broken := not_finite(weights):
        raise SourceError(f"{path}: {broken}; train again, with a lower lr if training diverged")


def load_model(path: str | Path) -> SparseCoder:
    """Load a saved model onto the CPU, in evaluation mode.

    Raises
    ------
    ValueError
        If the file is damaged or no sdlcore model, if its weights do not match its configuration or are not finite, or
        if the plugin of its activation is not imported. The message names the file, and the plugin.
    """
    description, tensors = read_with_checksum(path, ENTRY, "pt")
    return build_model(path, description, tensors)


def build_model(path: str | Path, description: Mapping[str, Json], tensors: Mapping[str, Tensor]) -> SparseCoder:
    """Build a model from its description (`description_of`) and weights; result and errors as in `load_model`."""
    _check_plugin(path, description)
    check_finite(path, tensors)
    try:
        with torch.device("meta"):  # names and shapes first, so that a wrong configuration cannot exhaust the memory
            empty_model(description).load_state_dict(tensors, assign=True)
        model = empty_model(description)
        model.load_state_dict(tensors)
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError, ArithmeticError) as error:
        problem = " ".join(str(error).split())
        raise SourceError(
            f"{path}: its weights and its metadata do not describe a model ({problem}); save it again"
        ) from error
    return model


def load_provenance(path: str | Path) -> dict[str, Json]:
    """Return the provenance in a saved model, or an empty one; SourceError if the file is damaged."""
    provenance = read_with_checksum(path, ENTRY, "pt")[0].get("provenance")
    return provenance if isinstance(provenance, dict) else {}


def _check_plugin(path: str | Path, description: Mapping[str, Json]) -> None:
    """Raise `ValueError` if the plugin of a model's activation is not imported; loading imports no plugin by itself."""
    settings, plugin = description.get("model"), description.get("plugin")
    name = settings.get("activation") if isinstance(settings, dict) else None
    if isinstance(plugin, str) and isinstance(name, str) and name not in extensions("activation"):
        raise SourceError(
            f"{path}: its activation {name:.50} belongs to the plugin {plugin:.200}, which is not imported; import it, "
            "or list it under plugins in the configuration"
        )


def empty_model(description: Mapping[str, Any]) -> SparseCoder:
    """Build the model of a file's description, to be filled by weights, in evaluation mode."""
    config = ModelConfig.from_dict(description["model"])
    return SparseCoder.from_config(config, tuple(description["input_sites"]), tuple(description["target_sites"])).eval()
