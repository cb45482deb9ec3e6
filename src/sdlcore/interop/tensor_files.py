"""Read weights of other libraries' dictionaries safely, with checks of types, shapes, values and memory use.

The header is compared with the file's size and with the settings beside the file before memory is allocated.
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
from sdlcore.text import listed, short_text

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""Allowed types of weights."""
INTEGERS = (torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8)
"""Allowed types of counts, such as k, besides `FLOATS`."""
EXPANSION, ALLOWANCE = 20, 2**26
"""Unpacked weights may be this many times larger than their file, plus these bytes, since .npz files pack zeros."""
SHAPE = tuple[str, ...]
"""Names of a tensor's dimensions, such as ("d_in", "d_sae")."""


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Read all tensors of a safetensors file. The library safetensors checks that the header accounts for all bytes of
    the file."""
    _require_file(path)
    with safe_open(path, "pt") as file:
        names = list(file.keys())
        for name in names:
            header = file.get_slice(name)
            _check_shape(path, name, tuple(header.get_shape()))
        return {name: file.get_tensor(name) for name in names}


def read_npz(path: Path) -> dict[str, Tensor]:
    """Read all arrays of an .npz file."""
    _require_file(path)
    size = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if member.filename.endswith(".npy")]
        most = sum(member.file_size for member in members)
        if most > EXPANSION * size + ALLOWANCE:
            raise SourceError(
                f"{path}: {size} bytes would unpack to {most}, too many for weights; save it again with np.savez"
            )
        arrays: dict[str, Tensor] = {}
        for member in members:
            name = member.filename.removesuffix(".npy")
            if name in arrays:
                raise SourceError(f"{path}: contains {short_text(name)} twice; keep one")
            arrays[name] = _npz_member(path, archive, member, name)
    return arrays


def _npz_member(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> Tensor:
    with archive.open(member) as stream:
        header = read_header(stream, member.file_size)
        _check_shape(path, name, header.shape)
        if header.dtype.kind not in "fiub" or header.dtype.itemsize > 8:
            raise _wrong_type(path, name, header.dtype)
        content = stream.read()  # to the end, since zipfile verifies the checksum only there
    flat = np.frombuffer(content, header.dtype)
    values = flat.reshape(header.shape, order="F" if header.by_columns else "C")
    return torch.from_numpy(values.astype(header.dtype.newbyteorder("="), order="C"))


def read_pickle(path: Path) -> dict[str, Tensor]:
    """Read all tensors of a state dict that `torch.save` wrote. No code in the file is run.

    Raises
    ------
    ValueError
        If `torch.save` did not write the file, or it contains something other than tensors by name.
    SourceError
        If a tensor contains more numbers than the file.
    """
    _require_file(path)
    sizes = _sizes(path)
    # memory-mapped, since otherwise torch trusts the size in the pickle and reads beyond the stored numbers
    state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    if not isinstance(state, Mapping):
        raise ValueError(f"{path.name} contains a {type(state).__name__}, expected tensors by name")
    tensors, size_at = {}, dict[int, int]()
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ValueError(f"{path.name} contains a {type(value).__name__} as {short_text(name)}, expected a tensor")
        _check_shape(path, name, tuple(value.shape))
        storage = value.untyped_storage()
        stored, size = value.numel() * value.element_size(), storage.nbytes()
        size_at[storage.data_ptr()] = size
        if stored > size:
            raise SourceError(
                f"{path}: {short_text(name)} of shape {tuple(value.shape)} takes {stored} bytes, but only {size} are "
                "in the file (an expanded tensor); save it again after .contiguous()"
            )
        tensors[name] = value.detach()
    if [size for _, size in sorted(size_at.items())] != sizes:
        raise ValueError(f"{path.name} declares tensor sizes that differ from the stored ones")
    if sum(value.numel() * value.element_size() for value in tensors.values()) > EXPANSION * path.stat().st_size:
        raise ValueError(f"{path.name} declares {len(tensors)} tensors that share the same numbers; save copies")
    return {name: value.clone() for name, value in tensors.items()}


def _sizes(path: Path) -> list[int]:
    """Return the sizes of the storages in a file that `torch.save` wrote, in their order.

    Raises `ValueError` unless the file is an uncompressed zip whose pickle contains only dense tensors.
    """
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path.name} is not a zip file as written by torch.save since torch 1.6")
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if any(member.compress_type for member in members):
            raise ValueError(f"{path.name} is compressed, which torch.save never does")
        if sum(member.file_size for member in members) > path.stat().st_size:
            raise ValueError(f"{path.name} declares more bytes than the file contains")
        pickles = [member for member in members if member.filename.rpartition("/")[2] == "data.pkl"]
        for member in pickles:
            for operation, argument, _ in pickletools.genops(archive.read(member)):
                if operation.name == "GLOBAL" and not _is_plain(str(argument)):
                    global_name = short_text(str(argument).replace(" ", "."))
                    raise ValueError(f"{path.name} contains {global_name}, expected only dense tensors")
        storages = [member for member in members if "/data/" in member.filename]
        return [member.file_size for member in sorted(storages, key=lambda member: member.header_offset)]


def _is_plain(reference: str) -> bool:
    """Return whether "MODULE NAME" in a pickle belongs to a dense tensor, or to the dict of tensors."""
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
    if not path.is_file():  # opening a pipe would wait for a writer
        raise FileNotFoundError(f"{path.name}: no such file")


def _check_shape(path: Path, name: str, shape: tuple[int, ...]) -> None:
    if 0 in shape:  # an empty tensor takes no bytes in a file, however large its other dimensions are
        raise SourceError(f"{path}: {short_text(name)} is empty (shape {shape}), expected weights")


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
        The file, for the message.
    tensors
        Tensors by name.
    shapes
        Names of the dimensions of each tensor to check.
    sizes, said_by
        Known sizes of dimensions from a settings file, and the name of that file.
    """
    all_sizes = dict(sizes or {})
    for name, dimensions in shapes.items():
        shape = tuple(tensors[name].shape)
        if not _agree(all_sizes, dimensions, shape):
            expected = ", ".join(f"{dimension} = {all_sizes.get(dimension, 'any')}" for dimension in dimensions)
            source = f", as in {said_by}" if set(dimensions) & set(sizes or ()) else ""
            raise SourceError(f"{path}: {short_text(name)} has shape {shape}, expected ({expected}){source}")


def fits(tensors: Mapping[str, Tensor], shapes: Mapping[str, SHAPE]) -> bool:
    """Return whether the shapes of tensors agree with each other."""
    sizes: dict[str, int] = {}
    return all(_agree(sizes, dimensions, tuple(tensors[name].shape)) for name, dimensions in shapes.items())


def _agree(sizes: dict[str, int], dimensions: SHAPE, shape: tuple[int, ...]) -> bool:
    """Return whether a shape agrees with the known sizes; add its new sizes to ``sizes``."""
    return len(shape) == len(dimensions) and all(
        sizes.setdefault(dimension, size) == size for dimension, size in zip(dimensions, shape, strict=True)
    )


def check_values(path: Path, tensors: Mapping[str, Tensor], counts: tuple[str, ...] = ()) -> None:
    """Raise `SourceError` unless tensors are finite floating-point numbers.

    Parameters
    ----------
    path
        The file, for the message.
    tensors
        Tensors by name.
    counts
        Names of tensors that must contain whole numbers above 0 instead.
    """
    for name, value in tensors.items():
        if name in counts:
            _check_count(path, name, value)
        elif value.dtype not in FLOATS:
            raise _wrong_type(path, name, value.dtype)
        elif not value.float().isfinite().all():  # checked in float32, the type of all computations
            raise SourceError(f"{path}: {short_text(name)} contains NaN, infinity or numbers too large for float32")


def _check_count(path: Path, name: str, value: Tensor) -> None:
    if value.dtype not in (*INTEGERS, *FLOATS) or not ((value > 0) & (value == value.round())).all():
        raise SourceError(
            f"{path}: {short_text(name)} contains {value.flatten()[:3].tolist()} of type {_name(value.dtype)}, "
            "expected whole numbers above 0"
        )


def _wrong_type(path: Path, name: str, dtype: Any) -> SourceError:
    floats = ", ".join(map(_name, FLOATS))
    return SourceError(f"{path}: {short_text(name)} contains {_name(dtype)}, expected weights of type {floats}")


def _name(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")


def check_names(
    path: Path, tensors: Mapping[str, Any], expected: set[str], optional: frozenset[str] = frozenset()
) -> None:
    """Raise `SourceError` unless a file contains all expected tensors and no unknown ones, besides optional ones."""
    if missing := expected - tensors.keys():
        raise SourceError(f"{path}: lacks the tensors {listed(sorted(missing))}, found {listed(sorted(tensors))}")
    if unknown := tensors.keys() - expected - optional:
        raise SourceError(
            f"{path}: contains unknown tensors {listed(sorted(unknown))}, expected {listed(sorted(expected))}"
        )
