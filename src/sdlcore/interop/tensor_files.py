"""Read the weights of other libraries' dictionaries: which types and shapes count, and how much memory a file may take.

The header is compared with the size of the file, and with the settings beside it, before memory is allocated.
"""

import pickletools
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from sdlcore.errors import SourceError
from sdlcore.storage.npy import read_header
from sdlcore.text import listed, shown

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""Types that weights may have."""
INTEGERS = (torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8)
"""Types that numbers of latents, such as k, may have."""
EXPANSION, ALLOWANCE = 20, 2**26
"""Weights may take this many times their file's size and, since zeros in an .npz take nothing, these bytes besides."""
SHAPE = tuple[str, ...]
"""Names of a tensor's dimensions, such as ("d_in", "d_sae")."""


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Return all tensors of a safetensors file. Its library checks that the header describes the file's every byte."""
    _require_file(path)
    with safe_open(path, "pt") as file:
        names = list(file.keys())
        for name in names:
            header = file.get_slice(name)
            _check_shape(path, name, tuple(header.get_shape()))
        return {name: file.get_tensor(name) for name in names}


def read_npz(path: Path) -> dict[str, Tensor]:
    """Return all arrays of an .npz file."""
    _require_file(path)
    size = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if member.filename.endswith(".npy")]
        most = sum(member.file_size for member in members)
        if most > EXPANSION * size + ALLOWANCE:
            raise SourceError(
                f"{path}: {size} bytes would unpack to {most}, which no weights do; save it again with np.savez"
            )
        found: dict[str, Tensor] = {}
        for member in members:
            name = member.filename.removesuffix(".npy")
            if name in found:
                raise SourceError(f"{path}: holds {shown(name)} twice; keep one")
            found[name] = _npz_member(path, archive, member, name)
    return found


def _npz_member(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> Tensor:
    with archive.open(member) as stream:
        header = read_header(stream, member.file_size)
        _check_shape(path, name, header.shape)
        if header.dtype.kind not in "fiub" or header.dtype.itemsize > 8:
            raise _wrong_type(path, name, header.dtype)
        content = stream.read()  # to the end, where zipfile compares the checksum
    flat = np.frombuffer(content, header.dtype)
    values = flat.reshape(header.shape, order="F" if header.by_columns else "C")
    return torch.from_numpy(values.astype(header.dtype.newbyteorder("="), order="C"))


def read_pickle(path: Path) -> dict[str, Tensor]:
    """Return all tensors of a file that `torch.save` wrote from a state dict. No code in it is run.

    Raises
    ------
    ValueError
        If it is no such file, or holds something other than tensors by name.
    SourceError
        If a tensor holds more numbers than the file does.
    """
    _require_file(path)
    sizes = _sizes(path)
    # mapped, since otherwise torch believes the size that the pickle declares, and reads memory beyond the numbers
    state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    if not isinstance(state, Mapping):
        raise ValueError(f"{path.name} holds {type(state).__name__}, expected tensors by name")
    found, held_at = {}, dict[int, int]()
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ValueError(f"{path.name} holds {type(value).__name__} as {shown(name)}, expected a tensor")
        _check_shape(path, name, tuple(value.shape))
        storage = value.untyped_storage()
        stored, held = value.numel() * value.element_size(), storage.nbytes()
        held_at[storage.data_ptr()] = held
        if stored > held:
            raise SourceError(
                f"{path}: {shown(name)} of shape {tuple(value.shape)} takes {stored} bytes, but the file holds {held} "
                "of them (an expanded tensor); save it again after .contiguous()"
            )
        found[name] = value.detach()
    if [held for _, held in sorted(held_at.items())] != sizes:
        raise ValueError(f"{path.name} declares other sizes of numbers than it holds")
    if sum(value.numel() * value.element_size() for value in found.values()) > EXPANSION * path.stat().st_size:
        raise ValueError(f"{path.name} names the same numbers {len(found)} times")
    return {name: value.clone() for name, value in found.items()}


def _sizes(path: Path) -> list[int]:
    """Return the sizes of the storages in a file of `torch.save`, in their order.

    Raises `ValueError` unless it is a zip file that is not compressed and whose pickle holds dense tensors alone.
    """
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path.name} is not the zip file that torch.save has written since torch 1.6")
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if any(member.compress_type for member in members):
            raise ValueError(f"{path.name} is compressed, which torch.save never does")
        if sum(member.file_size for member in members) > path.stat().st_size:
            raise ValueError(f"{path.name} declares more bytes than it has")
        pickles = [member for member in members if member.filename.rpartition("/")[2] == "data.pkl"]
        for member in pickles:
            for operation, argument, _ in pickletools.genops(archive.read(member)):
                if operation.name == "GLOBAL" and not _is_plain(str(argument)):
                    raise ValueError(
                        f"{path.name} holds {shown(str(argument).replace(' ', '.'))}, expected dense tensors alone"
                    )
        storages = [member for member in members if "/data/" in member.filename]
        return [member.file_size for member in sorted(storages, key=lambda member: member.header_offset)]


def _is_plain(reference: str) -> bool:
    """Tell whether "MODULE NAME" is part of a dense tensor, or of the dict that holds them."""
    module, _, name = reference.partition(" ")
    if module == "torch":
        return re.fullmatch(r"[A-Za-z0-9]+Storage", name) is not None or isinstance(
            getattr(torch, name, None), torch.dtype
        )
    return reference in (
        "collections OrderedDict",
        "torch._utils _rebuild_tensor_v2",
        "torch._utils _rebuild_tensor_v3",
        "torch._utils _rebuild_parameter",
        "torch.storage UntypedStorage",
    )


def _require_file(path: Path) -> None:
    if not path.is_file():  # opening a pipe would wait for somebody to write
        raise FileNotFoundError(f"{path.name}: no such file")


def _check_shape(path: Path, name: str, shape: tuple[int, ...]) -> None:
    if 0 in shape:  # which takes no bytes of a file, however large the other dimensions are
        raise SourceError(f"{path}: {shown(name)} is empty (shape {shape}), expected weights")


def check_shapes(
    path: Path,
    tensors: Mapping[str, Tensor],
    shapes: Mapping[str, SHAPE],
    sizes: Mapping[str, int] | None = None,
    said_by: str = "",
) -> None:
    """Raise `SourceError` unless the shapes of tensors agree with each other and with the settings.

    Parameters
    ----------
    path
        The file that they come from.
    tensors
        By name.
    shapes
        Names of the dimensions of each tensor that is checked.
    sizes, said_by
        Sizes of dimensions as far as the settings say them, and the name of that file.
    """
    known = dict(sizes or {})
    for name, dimensions in shapes.items():
        shape = tuple(tensors[name].shape)
        if not _agree(known, dimensions, shape):
            expected = ", ".join(f"{dimension} = {known.get(dimension, 'any')}" for dimension in dimensions)
            source = f", as {said_by} says" if set(dimensions) & set(sizes or ()) else ""
            raise SourceError(f"{path}: {shown(name)} has shape {shape}, expected ({expected}){source}")


def fits(tensors: Mapping[str, Tensor], shapes: Mapping[str, SHAPE]) -> bool:
    """Tell whether the shapes of tensors agree with each other."""
    known: dict[str, int] = {}
    return all(_agree(known, dimensions, tuple(tensors[name].shape)) for name, dimensions in shapes.items())


def _agree(known: dict[str, int], dimensions: SHAPE, shape: tuple[int, ...]) -> bool:
    """Return whether a shape agrees with the known sizes, and add its other sizes to them."""
    return len(shape) == len(dimensions) and all(
        known.setdefault(dimension, size) == size for dimension, size in zip(dimensions, shape, strict=True)
    )


def check_values(path: Path, tensors: Mapping[str, Tensor], counts: tuple[str, ...] = ()) -> None:
    """Raise `SourceError` unless tensors are finite floating-point numbers.

    Parameters
    ----------
    path
        The file that they come from.
    tensors
        By name.
    counts
        Names of tensors of whole numbers above 0 instead.
    """
    for name, value in tensors.items():
        if name in counts:
            _check_count(path, name, value)
        elif value.dtype not in FLOATS:
            raise _wrong_type(path, name, value.dtype)
        elif not value.float().isfinite().all():  # as float32, in which they are computed with
            raise SourceError(f"{path}: {shown(name)} holds NaN, infinity or numbers too large for float32")


def _check_count(path: Path, name: str, value: Tensor) -> None:
    if value.dtype not in (*INTEGERS, *FLOATS) or not ((value > 0) & (value == value.round())).all():
        raise SourceError(
            f"{path}: {shown(name)} holds {value.flatten()[:3].tolist()} of type {_name(value.dtype)}, "
            "expected whole numbers above 0"
        )


def _wrong_type(path: Path, name: str, found: Any) -> SourceError:
    known = ", ".join(map(_name, FLOATS))
    return SourceError(f"{path}: {shown(name)} holds {_name(found)}, expected weights of type {known}")


def _name(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")


def check_names(
    path: Path, tensors: Mapping[str, Any], expected: set[str], optional: frozenset[str] = frozenset()
) -> None:
    """Raise `SourceError` unless a file has exactly the expected tensors: others would change the dictionary."""
    if missing := expected - tensors.keys():
        raise SourceError(f"{path}: lacks the tensors {listed(sorted(missing))}; it has {listed(sorted(tensors))}")
    if unknown := tensors.keys() - expected - optional:
        raise SourceError(f"{path}: has tensors {listed(sorted(unknown))}, which are not understood")
