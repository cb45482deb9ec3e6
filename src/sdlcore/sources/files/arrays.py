"""Read arrays from .npy, .npz, HDF5 and safetensors files in blocks of rows; NumPy unpacks an array of an .npz whole.

Nothing in these files is executed: pickled objects are refused. Any exception of a parser becomes a `SourceError` that
names the file.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from safetensors import safe_open

from sdlcore.data.reading import decode, dtype_of
from sdlcore.errors import SourceError
from sdlcore.sources.files.settings import FORMATS, parse_array
from sdlcore.storage.files import Unchanged
from sdlcore.storage.parsing import parsing

Read = Callable[[int, int], np.ndarray]


class Array(NamedTuple):
    """An array in an open file."""

    name: str
    """Its name in the configuration."""
    shape: tuple[int, ...]
    dtype: np.dtype
    """Type of the rows; float32 for bfloat16, which NumPy lacks."""
    read: Read
    """Returns rows ``start:stop``; SourceError if they cannot be read, or the file was changed."""


@contextmanager
def open_array(reference: str) -> Iterator[Array]:
    """Open the array at ``path`` or ``path#key``, without loading it.

    Raises
    ------
    SourceError
        If the file is missing, damaged or of an unknown format; if it lacks that array, or contains several arrays and
        no name is given (the message lists its arrays); or if data of the array are in other files or missing.
    """
    path, key = parse_array(reference)
    suffix = Path(path).suffix
    if suffix not in FORMATS:
        raise SourceError(f"{path}: expected a file of type {', '.join(FORMATS)}")
    if not Path(path).is_file():
        raise SourceError(f"{path}: no such file")
    unchanged, opened = Unchanged(path), {".npy": _npy, ".npz": _npz, ".safetensors": _safetensors}.get(suffix, _hdf5)
    with ExitStack() as stack:
        with parsing(reference, f"{suffix} file"):
            shape, read_rows = stack.enter_context(opened(path, key))

        def read(start: int, stop: int) -> np.ndarray:
            with parsing(reference, f"rows {start} to {stop - 1}"), unchanged:
                return read_rows(start, stop)

        yield Array(reference, shape, read(0, 0).dtype if shape else np.dtype(object), read)


@contextmanager
def _npy(path: str, key: str | None) -> Iterator[tuple[tuple[int, ...], Read]]:
    if key is not None:
        raise SourceError(f"{path}#{key}: an .npy file contains one array without a name; write {path}")
    values = np.lib.format.open_memmap(path, mode="r")
    yield values.shape, lambda start, stop: np.array(values[start:stop])


@contextmanager
def _npz(path: str, key: str | None) -> Iterator[tuple[tuple[int, ...], Read]]:
    with np.load(path) as arrays:
        values = arrays[_choose(path, key, arrays.files)]
    yield values.shape, lambda start, stop: values[start:stop]


@contextmanager
def _hdf5(path: str, key: str | None) -> Iterator[tuple[tuple[int, ...], Read]]:
    with h5py.File(path, "r") as file:
        dataset = None if key is None else file.get(key)
        if not isinstance(dataset, h5py.Dataset):
            names: list[str] = []
            file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
            dataset = file[_choose(path, key, names)]
        # HDF5 reads missing data as zeros, and the digest of this file does not cover data in other files
        if dataset.is_virtual or dataset.external or dataset.file.filename != file.filename:
            raise SourceError(f"{path}#{dataset.name[1:]}: keeps its data outside the file; copy it to a new file")
        chunks = dataset.chunks and math.prod(-(-n // m) for n, m in zip(dataset.shape, dataset.chunks, strict=True))
        if chunks and dataset.id.get_num_chunks() < chunks:
            raise SourceError(f"{path}#{dataset.name[1:]}: some of its {chunks} chunks were never written")
        dtype = dtype_of(dataset)  # activation stores save bfloat16 as its bits
        yield dataset.shape or (), lambda start, stop: decode(dataset[start:stop], dtype)


@contextmanager
def _safetensors(path: str, key: str | None) -> Iterator[tuple[tuple[int, ...], Read]]:
    import torch  # only here: other formats do not pay for loading it, and NumPy lacks bfloat16

    with safe_open(path, "pt") as file:
        tensor: Any = file.get_slice(_choose(path, key, list(file.keys())))

        def read(start: int, stop: int) -> np.ndarray:
            rows: torch.Tensor = tensor[start : min(stop, tensor.get_shape()[0])]
            return (rows.float() if rows.dtype == torch.bfloat16 else rows).numpy()

        yield tuple(tensor.get_shape()), read


def _choose(path: str, key: str | None, names: list[str]) -> str:
    """Return the name of the requested array: ``key``, or the only name."""
    listed = ", ".join(sorted(names)) if names else "none"
    if key is None and len(names) != 1:
        raise SourceError(f"{path}: contains several arrays or none; choose one with {path}#KEY, found {listed}")
    if key is not None and key not in names:
        raise SourceError(f"{path}#{key}: the file has no array of that name, found {listed}")
    return names[0] if key is None else key
