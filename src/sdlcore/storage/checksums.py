"""Safetensors and JSON files that carry a CRC-32 of their content.

safetensors checks shapes, not contents: a flipped bit of a weight gives another weight. So the metadata hold one entry:
a description as JSON, with the key ``crc32``, the checksum of the rest of the description and of all tensors.
"""

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from safetensors import SafetensorError, safe_open

from sdlcore.settings import Json
from sdlcore.storage.files import atomic_path

if TYPE_CHECKING:
    import torch

Tensors: TypeAlias = "Mapping[str, np.ndarray | torch.Tensor]"
"""By name; torch tensors on the CPU."""


def with_checksum(content: Mapping[str, Json], more: Iterable[bytes | memoryview] = ()) -> dict[str, Json]:
    """Return content for JSON with a ``crc32``: the checksum of itself and of more bytes.

    An earlier ``crc32`` is replaced: content is intact if this changes nothing.
    """
    rest = {key: value for key, value in content.items() if key != "crc32"}
    crc = zlib.crc32(json.dumps(rest, sort_keys=True).encode())
    for part in more:
        crc = zlib.crc32(part, crc)
    return {**rest, "crc32": crc}


def write_with_checksum(
    path: str | Path, tensors: Tensors, description: Mapping[str, Json], entry: str = "provenance"
) -> None:
    """Write tensors and their description, with a checksum of both, as one safetensors file, whole or not at all.

    Parameters
    ----------
    path
        File to make or replace.
    tensors
        All of numpy, or all of torch and contiguous.
    description
        Goes into the metadata. All of it is one entry, since safetensors writes several in random order, and equal
        contents should be equal files.
    entry
        Name of that entry.
    """
    kept: dict[str, Any] = {
        name: np.ascontiguousarray(values) if isinstance(values, np.ndarray) else values
        for name, values in tensors.items()
    }
    arrays = all(isinstance(values, np.ndarray) for values in kept.values())
    # torch only for its tensors, since importing it takes a second
    save_file = import_module(f"safetensors.{'numpy' if arrays else 'torch'}").save_file
    # as it will be read: keys that were numbers are text then
    described = with_checksum(json.loads(json.dumps(description)), _contents(kept))
    with atomic_path(path) as part:
        save_file(kept, part, metadata={entry: json.dumps(described, sort_keys=True)})


def read_with_checksum(
    path: str | Path, entry: str = "provenance", framework: Literal["np", "pt"] = "np"
) -> tuple[dict[str, Json], dict[str, Any]]:
    """Return the description and the tensors that `write_with_checksum` wrote.

    Raises
    ------
    ValueError
        If the file is not one of these, or damaged; the message names it.
    """
    try:
        with safe_open(path, framework) as file:
            text = (file.metadata() or {}).get(entry)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
    except (OSError, SafetensorError, LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise ValueError(f"{path}: not a readable safetensors file ({error})") from error
    try:
        description = json.loads(text or "")
        intact = description["crc32"] == with_checksum(description, _contents(tensors))["crc32"]
    except (ValueError, LookupError, AttributeError, TypeError, RecursionError) as error:
        raise ValueError(
            f"{path}: a safetensors file, but not one of sdlcore's, or damaged: no checksum in its metadata ({entry})"
        ) from error
    if not intact:
        raise ValueError(f"{path}: is damaged: its numbers or their description are not what was written; make it anew")
    del description["crc32"]
    return description, tensors


def _contents(tensors: Tensors) -> Iterator[bytes | memoryview]:
    """Yield the names, shapes and numbers of tensors."""
    for name in sorted(tensors):
        yield f"{name} {tuple(tensors[name].shape)}".encode()
        yield _bytes(tensors[name])


def _bytes(values: Any) -> memoryview:
    if not isinstance(values, np.ndarray):
        import torch  # only here: reading anchors needs no torch

        values = values.detach().contiguous().reshape(-1).view(torch.uint8).numpy()
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
