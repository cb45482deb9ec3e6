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
from numpy.lib.npyio import NpzFile
from safetensors import safe_open

from sdlcore.data.layout import decode
from sdlcore.errors import SourceError
from sdlcore.sources.files.settings import FORMATS, parse_array
from sdlcore.storage.files import Unchanged
from sdlcore.storage.parsing import in_a_sentence

SAFETENSORS = {"BF16": "bfloat16", "F16": "float16", "F32": "float32", "F64": "float64", "BOOL": "bool"} | {
    f"{kind}{bits}": f"{name}{bits}" for kind, name in (("I", "int"), ("U", "uint")) for bits in (8, 16, 32, 64)
}
"""Types of safetensors that are read."""


class Array(NamedTuple):
    """An array in an open file."""

    name: str
    """Its name in the configuration."""
    shape: tuple[int, ...]
    dtype: str
    kind: str
    """NumPy's kind of the dtype; f also for bfloat16."""
    read: Callable[[int, int], np.ndarray]
    """Returns rows ``start:stop``."""


@contextmanager
def open_array(reference: str) -> Iterator[Array]:
    """Open the array at ``path`` or ``path#key``, without loading it.

    Raises
    ------
    SourceError
        If the file is missing, damaged or of an unknown format; if it lacks that array, or contains several arrays and
        no name is given (the message lists its arrays); or if data of the array are in other files or missing.
        `Array.read` also raises it, for rows that cannot be read.
    """
    path, key = parse_array(reference)
    suffix = Path(path).suffix
    if suffix not in FORMATS:
        raise SourceError(f"{path}: expected a file of type {', '.join(FORMATS)}")
    if not Path(path).is_file():
        raise SourceError(f"{path}: no such file")
    reader = {".npy": _npy, ".npz": _npz, ".safetensors": _safetensors}.get(suffix, _hdf5)
    with ExitStack() as stack:
        with in_a_sentence(f"{reference}: cannot be read as {suffix}"):
            array = stack.enter_context(reader(path, key))

        def read(start: int, stop: int) -> np.ndarray:
            with in_a_sentence(f"{reference}: rows {start} to {stop - 1} cannot be read"):
                return array.read(start, stop)

        yield array._replace(name=reference, read=read)


@contextmanager
def _npy(path: str, key: str | None) -> Iterator[Array]:
    if key is not None:
        raise SourceError(f"{path}#{key}: an .npy file contains one array without a name; write {path}")
    unchanged, values = Unchanged(path), np.lib.format.open_memmap(path, mode="r")

    def read(start: int, stop: int) -> np.ndarray:
        with unchanged:
            return np.array(values[start:stop])

    yield _of_rows(path, values)._replace(read=read)


@contextmanager
def _npz(path: str, key: str | None) -> Iterator[Array]:
    with Path(path).open("rb") as file, NpzFile(file) as arrays:
        values = arrays[_choose(path, key, arrays.files)]
    yield _of_rows(path, values)


def _of_rows(path: str, values: np.ndarray) -> Array:
    return Array(path, values.shape, values.dtype.name, values.dtype.kind, lambda start, stop: values[start:stop])


@contextmanager
def _hdf5(path: str, key: str | None) -> Iterator[Array]:
    with h5py.File(path, "r") as file:
        dataset = None if key is None else file.get(key)
        if not isinstance(dataset, h5py.Dataset):
            dataset = file[_choose(path, key, _datasets(file))]
        if problem := _incomplete(file, dataset):
            raise SourceError(f"{path}#{dataset.name[1:]}: {problem}; copy the whole array to a new file")
        # activation stores save bfloat16 as its bits
        is_bits = dataset.dtype == np.uint16 and str(dataset.attrs.get("dtype")) == "bfloat16"
        dtype, kind = ("bfloat16", "f") if is_bits else (dataset.dtype.name, dataset.dtype.kind)
        yield Array(path, dataset.shape or (), dtype, kind, lambda start, stop: decode(dataset[start:stop], dtype))


def _datasets(file: h5py.File) -> list[str]:
    names: list[str] = []
    file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    return names


def _incomplete(file: h5py.File, dataset: h5py.Dataset) -> str | None:
    """Describe why the data of a dataset are incomplete, since HDF5 reads missing data as zeros; None if complete.

    Data in other files (external or virtual) are refused, too, because the digest of this file does not cover them.
    """
    if dataset.is_virtual or dataset.external or dataset.file.filename != file.filename:
        return "keeps its data outside the file"
    if dataset.chunks is None:
        whole = dataset.id.get_storage_size() >= (dataset.size or 0) * dataset.dtype.itemsize
        return None if whole else "was never written"
    n_chunks = dataset.id.get_num_chunks()
    expected = math.prod(-(-size // chunk) for size, chunk in zip(dataset.shape, dataset.chunks, strict=True))
    return None if n_chunks >= expected else f"has {n_chunks} of its {expected} chunks; the others were never written"


@contextmanager
def _safetensors(path: str, key: str | None) -> Iterator[Array]:
    with safe_open(path, "np") as file:
        name = _choose(path, key, list(file.keys()))
        header = file.get_slice(name)
        shape, kind = tuple(header.get_shape()), header.get_dtype()
    if kind not in SAFETENSORS:
        raise SourceError(f"{path}#{name}: contains {kind}, which is not supported; convert it to F32 or BF16")
    dtype, is_bfloat16 = SAFETENSORS[kind], kind == "BF16"  # NumPy lacks bfloat16
    with safe_open(path, "pt" if is_bfloat16 else "np") as file:

        def read(start: int, stop: int) -> np.ndarray:
            values: Any = file.get_slice(name)[start : min(stop, shape[0])]
            return values.float().numpy() if is_bfloat16 else values

        yield Array(path, shape, dtype, "f" if is_bfloat16 else np.dtype(dtype).kind, read)


def _choose(path: str, key: str | None, names: list[str]) -> str:
    """Return the name of the requested array: ``key``, or the only name."""
    listed = ", ".join(sorted(names)) if names else "none"
    if key is None and len(names) != 1:
        raise SourceError(f"{path}: contains several arrays or none; choose one with {path}#KEY, found {listed}")
    if key is not None and key not in names:
        raise SourceError(f"{path}#{key}: the file has no array of that name, found {listed}")
    return names[0] if key is None else key
