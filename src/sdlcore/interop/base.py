"""What every library's format declares: its files, what it cannot express, how it is written and read."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from safetensors.torch import save_file
from torch import Tensor

from sdlcore.model.coder import SparseCoder

Files: TypeAlias = Mapping[str, Callable[[Path], object]]
"""What writes each file of a folder, by the file's name. The last one says what the others are."""

SAVE_OURS = "save it as sdlcore does (dictionary.save): that file holds W_enc and W_dec by latent, b_enc and b_dec"
"""What to do with a dictionary that no format can express."""


@dataclass(frozen=True)
class Format:
    """One library's format."""

    title: str
    """What the library calls itself."""
    files: tuple[str, ...]
    """Names of the files that make a folder one of this format; they may be patterns."""
    refusal: Callable[[SparseCoder], str | None]
    """Says why the library cannot compute what a dictionary does, and what to do; None if it can."""
    write: Callable[..., Files]
    """Returns the files of dictionaries, a list of them where `is_set`; keywords are the format's own options."""
    read: Callable[[Path], SparseCoder] | None = None
    """Opens a folder; None where only the library itself opens it."""
    is_set: bool = False
    """Whether a folder holds a dictionary for each layer."""


def kind_of(model: SparseCoder) -> str:
    """Return what a dictionary is in words, such as "topk transcoder with a skip connection"."""
    config = model.config
    noun = {"sae": "autoencoder"}.get(config.pair, config.pair)
    beside = " with a skip connection" if config.skip else " with a pursuit" if config.pursuit else ""
    return f"{config.activation} {noun}{beside}"


def json_file(content: Any) -> Callable[[Path], object]:
    """Return what writes ``content`` as JSON."""
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    return lambda path: path.write_text(text, encoding="utf-8")


def safetensors_file(tensors: Mapping[str, Tensor]) -> Callable[[Path], object]:
    """Return what writes tensors, none of which shares memory with another."""
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    return lambda path: save_file(whole, path)
