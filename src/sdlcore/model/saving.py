"""Save and load models: one safetensors file each, with configuration and provenance in its metadata."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import torch
from torch import Tensor

from sdlcore.errors import SourceError, printable_cause
from sdlcore.model.activation import Activation
from sdlcore.model.coder import SparseCoder
from sdlcore.model.finite import not_finite
from sdlcore.plugins.registry import extensions, registered
from sdlcore.run import ModelConfig
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
    """Return what `restored` needs beside the weights: settings, widths of the sites, the plugin of the activation."""
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
    """Raise `ValueError`, naming file and weight, if a weight is not finite: `load_model` would refuse the file."""
    if broken := not_finite(weights):
        raise ValueError(f"{path}: not written, because {broken}; train again, with a lower lr if training diverged")


def load_model(path: str | Path) -> SparseCoder:
    """Load a saved model onto the CPU, in evaluation mode.

    Raises
    ------
    ValueError
        If the file is damaged or no sdlcore model, if its weights do not match its configuration or are not finite, or
        if the plugin of its activation is not imported. The message names the file, and the plugin.
    """
    description, tensors = read_with_checksum(path, ENTRY, "pt")
    return restored(path, description, tensors)


def restored(path: str | Path, description: Mapping[str, Json], tensors: Mapping[str, Tensor]) -> SparseCoder:
    """Build a model from its description (`description_of`) and weights; result and errors as in `load_model`."""
    _check_plugin(path, description)
    try:
        with torch.device("meta"):  # only shapes, so that a wrong configuration cannot exhaust the memory
            expected = described(description).state_dict()
    except (LookupError, TypeError, ValueError, RuntimeError, ArithmeticError) as error:
        raise SourceError(
            f"{path}: its metadata do not describe a model ({error}); save it again"
        ) from printable_cause(error)
    for name in sorted(expected.keys() | tensors.keys()):
        if name not in tensors or name not in expected:
            problem = f"has a tensor {name}" if name in tensors else f"lacks the tensor {name}"
            raise SourceError(f"{path}: {problem}, contrary to the configuration in its metadata")
        declared, tensor = expected[name], tensors[name]
        if (tensor.shape, tensor.dtype) != (declared.shape, declared.dtype):
            raise SourceError(
                f"{path}: {name} is {tensor.dtype} of shape {tuple(tensor.shape)}, but the configuration in its "
                f"metadata needs {declared.dtype} of {tuple(declared.shape)}"
            )
        if not tensor.isfinite().all():
            raise SourceError(
                f"{path}: {name} contains NaN or infinity; train again, with a lower lr if training diverged"
            )
    model = described(description)
    model.load_state_dict(tensors)
    for part in model.sigma.modules():
        if isinstance(part, Activation):
            try:
                part.check_state()
            except ValueError as error:
                raise ValueError(f"{path}: {error}; train again, or save the dictionary again") from error
    return model


def load_provenance(path: str | Path) -> dict[str, Json]:
    """Return the provenance in a saved model; errors as in `load_model`, without checks of the weights."""
    provenance = read_with_checksum(path, ENTRY, "pt")[0].get("provenance")
    if not isinstance(provenance, dict):
        raise SourceError(f"{path}: its metadata contain no provenance; save it again")
    return provenance


def _check_plugin(path: str | Path, description: Mapping[str, Json]) -> None:
    """Raise `ValueError` if the plugin of a model's activation is not imported; loading imports no plugin by itself."""
    settings, plugin = description.get("model"), description.get("plugin")
    name = settings.get("activation") if isinstance(settings, dict) else None
    if isinstance(plugin, str) and isinstance(name, str) and name not in extensions("activation"):
        raise SourceError(
            f"{path}: its activation {name:.50} belongs to the plugin {plugin:.200}, which is not imported; import it, "
            "or list it under plugins in the configuration"
        )


def described(description: Mapping[str, Json]) -> SparseCoder:
    """Build the model of a file's description, to be filled by weights, in evaluation mode.

    An error names the entry of the description that is wrong.
    """
    settings = description["model"]
    if not isinstance(settings, dict):
        raise TypeError(f"model is {type(settings).__name__}, expected an object")
    for name, kind in get_type_hints(ModelConfig).items():
        choices = get_origin(kind) is Literal  # ModelConfig checks which value it is
        kinds = (str,) if choices else get_args(kind) or (kind,)
        if name in settings and not _is_of(settings[name], kinds):
            expected = " or ".join(kind.__name__ for kind in kinds)
            raise TypeError(f"model.{name} is {settings[name]!r:.60}, expected {expected}")
    config = ModelConfig.from_dict(settings)
    sites = []
    for name in ("input_sites", "target_sites"):
        widths = description[name]
        if not isinstance(widths, list) or not all(_is_of(width, (int,)) and width > 0 for width in widths):
            raise TypeError(f"{name} is {widths!r:.60}, expected widths")
        sites.append(tuple(widths))
    return SparseCoder.of(config, sites[0], sites[1]).eval()


def _is_of(value: Any, kinds: tuple[type, ...]) -> bool:
    """Return whether a JSON value has one of these types; whole numbers also count as floats."""
    if isinstance(value, float):
        return float in kinds and math.isfinite(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return int in kinds or float in kinds
    return type(value) in kinds
