"""The interface of export formats: refusal, writer and reader of each library's format."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from annotated_types import Ge
from pydantic import ConfigDict
from safetensors.torch import save_file
from torch import Tensor

from sdlcore.model.coder import SparseCoder
from sdlcore.settings import Settings

Files: TypeAlias = Mapping[str, Callable[[Path], object]]
"""File name -> function that writes this file. The last file describes the others, and is written last."""

SAVE_OURS = "save it as sdlcore does (dictionary.save): that file holds W_enc and W_dec by latent, b_enc and b_dec"
"""Remedy for a dictionary that no format can express."""


Count = Annotated[int, Ge(1)]
"""A whole number above zero."""


class FileSettings(Settings):
    """The settings that we need of another library's JSON file; its other keys are ignored."""

    model_config = ConfigDict(extra="ignore", strict=False)  # JSON of some releases has 64.0 for 64


@dataclass(frozen=True)
class Format:
    """The format of one library."""

    title: str
    """Name of the library."""
    refusal: Callable[[SparseCoder], str | None]
    """Returns why the library cannot express a dictionary, and a remedy; None if it can."""
    write: Callable[..., Files]
    """Returns the files for a dictionary, or for a list of dictionaries if `is_set`. Keywords are format options."""
    read: Callable[[Path], SparseCoder] | None = None
    """Loads a dictionary from a folder; None if the format can only be written."""
    is_set: bool = False
    """Whether a folder contains a dictionary for each layer."""


def kind_of(model: SparseCoder) -> str:
    """Describe a dictionary in words, such as "topk transcoder with a skip connection"."""
    config = model.config
    noun = {"sae": "autoencoder"}.get(config.pair, config.pair)
    beside = " with a skip connection" if config.skip else ""
    return f"{config.activation} {noun}{beside}"


def json_file(content: Any) -> Callable[[Path], object]:
    """Return a function that writes ``content`` as JSON to a path."""
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    return lambda path: path.write_text(text, encoding="utf-8")


def safetensors_file(tensors: Mapping[str, Tensor]) -> Callable[[Path], object]:
    """Return a function that writes tensors, which share no memory, to a safetensors file."""
    return lambda path: save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
