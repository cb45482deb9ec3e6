"""What every library's format declares: its files, what it cannot express, how it is written and read."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from safetensors.torch import save_file
from torch import Tensor

from sdlcore.model.sparse_coder import SparseCoder
from sdlcore.storage.parsing import SourceError

Files: TypeAlias = Mapping[str, Callable[[Path], object]]
"""What writes each file of a folder, by the file's name. The last one says what the others are."""

SAVE_OURS = "save it as sdlcore does (dictionary.save): that file holds W_enc and W_dec by latent, b_enc and b_dec"
"""What to do with a dictionary that no format can express."""
SHOWN = 10
"""Names of tensors that an error lists."""


class RefusedError(ValueError):
    """A format cannot express a dictionary; the message says which, why and what to do."""


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


def read_json(path: Path) -> dict[str, Any]:
    """Return the object that a JSON file holds."""
    found = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise SourceError(f"{path}: holds {type(found).__name__}, expected an object")
    return found


def check_names(path: Path, tensors: Mapping[str, Tensor], expected: set[str]) -> None:
    """Raise `SourceError` unless a file has the expected tensors and no others, which would change what it computes."""
    if missing := sorted(expected - tensors.keys()):
        has = f"it has {', '.join(sorted(tensors)[:SHOWN]) or 'none'}{', ...' if len(tensors) > SHOWN else ''}"
        raise SourceError(f"{path}: lacks the tensors {', '.join(missing)}; {has}")
    if unknown := sorted(tensors.keys() - expected):
        raise SourceError(f"{path}: has tensors {', '.join(unknown)}, which are not understood")


def check_widths(path: Path, said: Any, found: int) -> None:
    """Raise `SourceError` unless a file of settings says the width of inputs that the weights have."""
    if said != found:
        raise SourceError(f"{path}: says inputs of width {said!r}, but the weights have {found}")
