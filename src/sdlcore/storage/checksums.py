"""Safetensors and JSON files that carry a CRC-32 of their content.

safetensors checks shapes but not contents, so a flipped bit in a weight goes unnoticed. Files with a checksum add one
entry to the metadata: a description as JSON. The key ``crc32`` of the description is the checksum of the rest of the
description and of all tensors.
"""

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from safetensors import safe_open

from sdlcore.errors import SourceError
from sdlcore.settings import Json
from sdlcore.storage.files import atomic_path
from sdlcore.storage.parsing import parsing

if TYPE_CHECKING:
    import torch

Tensors: TypeAlias = "Mapping[str, np.ndarray] | Mapping[str, torch.Tensor]"
"""Arrays by name, or contiguous torch tensors on the CPU."""


def with_checksum(content: Mapping[str, Json], more: Iterable[bytes | memoryview] = ()) -> dict[str, Json]:
    """Return ``content`` with a ``crc32`` entry: the checksum of the content, as JSON, and of ``more`` bytes.

    An existing ``crc32`` is replaced. To verify content, compare its ``crc32`` with the returned one.
    """
    rest = {key: value for key, value in content.items() if key != "crc32"}
    crc = zlib.crc32(json.dumps(rest, sort_keys=True).encode())
    for part in more:
        crc = zlib.crc32(part, crc)
    return {**rest, "crc32": crc}


def write_with_checksum(
    path: str | Path, tensors: Tensors, description: Mapping[str, Json], entry: str = "provenance"
) -> None:
    """Write tensors, their description and a checksum of both as one safetensors file, atomically.

    The description is stored as one ``entry`` of the metadata, since safetensors writes several entries in random
    order, and equal contents should give equal files.
    """
    arrays = all(isinstance(values, np.ndarray) for values in tensors.values())
    # torch takes a second to import, so stages without it write arrays by NumPy
    save_file = import_module(f"safetensors.{'numpy' if arrays else 'torch'}").save_file
    named = {name: np.asarray(values, order="C") for name, values in tensors.items()} if arrays else tensors
    # the checksum covers the description as it will be read: JSON turns numeric keys into text
    described = with_checksum(json.loads(json.dumps(description)), _contents(named))
    with atomic_path(path) as part:
        save_file(named, part, metadata={entry: json.dumps(described, sort_keys=True)})


def read_with_checksum(
    path: str | Path, entry: str = "provenance", framework: Literal["np", "pt"] = "np"
) -> tuple[dict[str, Json], dict[str, Any]]:
    """Read the description and the tensors from a file that `write_with_checksum` wrote; `SourceError` if damaged."""
    with parsing(path, "a safetensors file that sdlcore wrote", "create it again"):
        with safe_open(path, framework) as file:
            description = json.loads((file.metadata() or {})[entry])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
        intact = description["crc32"] == with_checksum(description, _contents(tensors))["crc32"]
        del description["crc32"]
    if not intact:
        raise SourceError(f"{path}: is damaged: its content does not match its checksum; create the file again")
    return description, tensors


def _contents(tensors: Mapping[str, Any]) -> Iterator[bytes | memoryview]:
    """Yield the name, shape and bytes of each tensor, for a checksum."""
    for name, values in sorted(tensors.items()):
        yield f"{name} {tuple(values.shape)}".encode()
        if not isinstance(values, np.ndarray):
            from torch import uint8

            values = values.detach().contiguous().reshape(-1).view(uint8).numpy()
        yield np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
