"""Seal safetensors files: a checksum in their metadata reveals damage.

safetensors checks shapes, not contents: a flipped bit of a weight is another weight.
"""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from sdlcore.settings import Json
from sdlcore.storage.files import atomic_path

if TYPE_CHECKING:
    import torch

Tensors: TypeAlias = "Mapping[str, np.ndarray] | Mapping[str, torch.Tensor]"
"""By name; those of torch on the CPU."""


def seal(description: Mapping[str, Json], tensors: Tensors) -> str:
    """Return a JSON-able description as text that ends with a checksum of itself and of tensors."""
    return _text({**description, "crc32": _crc(description, tensors)})


def unseal(path: str | Path, text: str | None, tensors: Tensors) -> dict[str, Json]:
    """Return the description that `seal` made into ``text``.

    Raises
    ------
    ValueError
        Naming the file, if the text, or tensors, are not what they were.
    """
    try:
        description = json.loads(text or "")
        found = description.pop("crc32")
        expected = _crc(description, tensors)
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise ValueError(
            f"{path}: has no checksum: it is no such file, damaged, or of an earlier version; make it anew"
        ) from error
    if found != expected:
        raise ValueError(f"{path}: is damaged: its numbers or their description are not what was written; make it anew")
    return dict(description)


def write_sealed(path: str | Path, arrays: Mapping[str, np.ndarray], provenance: Mapping[str, Json]) -> None:
    """Write arrays as safetensors, with ``provenance`` in the metadata, sealed with them; whole or not at all."""
    kept = {name: np.ascontiguousarray(values) for name, values in arrays.items()}
    with atomic_path(path) as part:
        save_file(kept, part, metadata={"provenance": seal(provenance, kept)})


def read_sealed(path: str | Path) -> dict[str, np.ndarray]:
    """Return the arrays that `write_sealed` wrote.

    Raises
    ------
    ValueError
        If the file is no such, or damaged; the message names it.
    """
    try:
        with safe_open(path, "np") as file:
            text = (file.metadata() or {}).get("provenance")
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118, not a dict
    except (OSError, SafetensorError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path}: not a readable safetensors file ({error})") from error
    unseal(path, text, tensors)
    return tensors


def _text(description: Mapping[str, Json]) -> str:
    # as it is read again: keys that were numbers are text then, and stand in another order
    return json.dumps(json.loads(json.dumps(description)), sort_keys=True)


def _crc(description: Mapping[str, Json], tensors: Tensors) -> int:
    crc = zlib.crc32(_text(description).encode())
    for name in sorted(tensors):
        values = tensors[name]
        crc = zlib.crc32(f"{name} {tuple(values.shape)}".encode(), crc)
        crc = zlib.crc32(_bytes(values), crc)
    return crc


def _bytes(values: Any) -> memoryview:
    if not isinstance(values, np.ndarray):
        import torch  # so that what reads anchors alone need not wait for it

        values = values.detach().contiguous().reshape(-1).view(torch.uint8).numpy()
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
