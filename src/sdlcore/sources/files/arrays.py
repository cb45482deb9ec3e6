"""Read arrays from .npy, .npz, HDF5 and safetensors files in blocks of rows.

Nothing in these files is executed: pickled objects are refused. Headers are not trusted: they are compared with the
size of the file before memory is allocated. Any exception of a parser becomes a `SourceError` that names the file.
"""

import json
import math
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from safetensors import safe_open

from sdlcore.data.layout import decode
from sdlcore.errors import SourceError
from sdlcore.sources.files.settings import FORMATS, parse_array
from sdlcore.storage.hdf5 import (
    FILTERS,
    data_elsewhere,
    datasets,
    never_written,
    short_chunk,
    short_packed_chunk,
    unknown_packing,
)
from sdlcore.storage.npy import Header, Numbers, read_header
from sdlcore.storage.parsing import in_a_sentence

# safetensors' names of types; bfloat16, which NumPy lacks, is read as its bits
SAFETENSORS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "U8": "u1", "I8": "i1", "BOOL": "?"} | {
    f"{kind}{8 * size}": f"<{kind.lower()}{size}" for kind in "IU" for size in (2, 4, 8)
}
SKIP_BYTES = 2**20
MOST_LINKS = 32
MOST_CHUNK_BYTES = 2**30
MOST_ROW_BYTES = 2**24
"""Largest row in an .npz file, since compressed zeros take a thousand times more memory than disk."""


class Array(NamedTuple):
    """An array in an open file."""

    name: str
    """Its name in the configuration."""
    shape: tuple[int, ...]
    dtype: str
    kind: str
    """NumPy's kind of the dtype; f also for bfloat16."""
    read: Callable[[int, int], np.ndarray]
    """Returns rows ``start:stop``. Fastest if every call starts where the last one ended."""


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
    yield _of_numbers(path, Numbers(path))


def _of_numbers(path: str, numbers: Numbers, decoded: str | None = None) -> Array:
    """Return an array of stored numbers, which may be the bits of another type."""
    dtype, kind = (decoded, "f") if decoded else (numbers.dtype.name, numbers.dtype.kind)
    return Array(path, numbers.shape, dtype, kind, lambda start, stop: decode(numbers[start:stop], dtype))


@contextmanager
def _npz(path: str, key: str | None) -> Iterator[Array]:
    with zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
        member = _ZippedArray(archive, f"{_choose(path, key, names)}.npy")
        yield Array(path, member.shape, member.dtype.name, member.dtype.kind, member.read)
        member.close()


class _ZippedArray:
    """An array in an .npz file, compressed or not, read row after row."""

    def __init__(self, archive: zipfile.ZipFile, name: str) -> None:
        self._archive, self._name = archive, name
        header = self._open()
        self.shape, by_columns, self.dtype = header
        if by_columns and len(self.shape) > 1:
            raise ValueError("the array is stored by columns (Fortran order); save np.ascontiguousarray(array) instead")
        self._row_bytes = header.row_bytes
        if self._row_bytes > MOST_ROW_BYTES:
            raise ValueError(f"its rows have {self._row_bytes} bytes each, expected at most {MOST_ROW_BYTES}")

    def _open(self) -> Header:
        self._stream = self._archive.open(self._name)
        self._row = 0
        return read_header(self._stream, self._archive.getinfo(self._name).file_size)

    def read(self, start: int, stop: int) -> np.ndarray:
        stop = min(stop, self.shape[0])
        if start < self._row:
            self.close()
            self._open()
        # no seek, since zipfile does not verify the checksum after it
        skipped = (start - self._row) * self._row_bytes
        while skipped and (part := self._stream.read(min(skipped, SKIP_BYTES))):
            skipped -= len(part)
        content = self._stream.read((stop - start) * self._row_bytes)
        self._row = stop
        if stop == self.shape[0]:
            self._stream.read(1)  # reading past the end makes zipfile verify the checksum
        return np.frombuffer(content, self.dtype).reshape(stop - start, *self.shape[1:])

    def close(self) -> None:
        self._stream.close()


@contextmanager
def _hdf5(path: str, key: str | None) -> Iterator[Array]:
    with h5py.File(path, "r") as file:
        linked = None if key is None else _within(path, file, key)
        is_there = key is not None and isinstance(linked, h5py.Dataset)
        name = str(key) if is_there else _choose(path, key, list(datasets(file)))
        dataset = file[name]
        if dataset.chunks and math.prod(dataset.chunks) * dataset.dtype.itemsize > MOST_CHUNK_BYTES:
            raise SourceError(f"{path}#{name}: has chunks of more than 1 GiB; write it again with smaller chunks")
        if problem := data_elsewhere(dataset) or never_written(dataset) or short_chunk(dataset):
            raise SourceError(f"{path}#{name}: {problem}; copy the whole array to a new file")
        if problem := unknown_packing(dataset):
            names = ", ".join(FILTERS.values())
            raise SourceError(f"{path}#{name}: {problem}; write it again with {names} or without compression")
        # activation stores save bfloat16 as its bits
        is_bits = dataset.dtype == np.uint16 and str(dataset.attrs.get("dtype")) == "bfloat16"
        dtype, kind = ("bfloat16", "f") if is_bits else (dataset.dtype.name, dataset.dtype.kind)

        def read(start: int, stop: int) -> np.ndarray:
            if problem := short_packed_chunk(dataset, start, stop):
                raise SourceError(f"{path}#{name}: {problem}; write it again")
            return decode(dataset[start:stop], dtype)

        yield Array(path, dataset.shape or (), dtype, kind, read)


def _within(path: str, file: h5py.File, key: str) -> Any:
    """Look up a name in an HDF5 file, or return None; links out of the file are not followed."""
    place: Any = file
    parts = key.split("/")
    for _ in range(MOST_LINKS):
        while parts:
            part = parts.pop(0)
            if part in ("", "."):
                continue
            link = place.get(part, getlink=True) if isinstance(place, h5py.Group) else None
            if isinstance(link, h5py.ExternalLink):
                raise SourceError(
                    f"{path}#{key}: is a link to {link.filename}, which could change unnoticed; give that file instead"
                )
            if isinstance(link, h5py.SoftLink):
                place = file if link.path.startswith("/") else place
                parts = link.path.split("/") + parts
                break
            if link is None:
                return None
            place = place[part]
        else:
            return place
    raise SourceError(f"{path}#{key}: is behind more than {MOST_LINKS} links; give the name of the dataset itself")


@contextmanager
def _safetensors(path: str, key: str | None) -> Iterator[Array]:
    with safe_open(path, "np"):  # safe_open compares the header with the file
        pass
    with Path(path).open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    name = _choose(path, key, [name for name in header if name != "__metadata__"])
    kind, shape, (first, _) = (header[name][part] for part in ("dtype", "shape", "data_offsets"))
    if kind not in SAFETENSORS:
        raise SourceError(f"{path}#{name}: contains {kind}, which is not supported; convert it to F32 or BF16")
    numbers = Numbers(path, Header(tuple(shape), False, np.dtype(SAFETENSORS[kind])), 8 + length + first)
    yield _of_numbers(path, numbers, "bfloat16" if kind == "BF16" else None)


def _choose(path: str, key: str | None, names: list[str]) -> str:
    """Return the name of the requested array: ``key``, or the only name."""
    listed = ", ".join(sorted(names)) if names else "none"
    if key is None and len(names) != 1:
        raise SourceError(f"{path}: contains several arrays or none; choose one with {path}#KEY, found {listed}")
    if key is not None and key not in names:
        raise SourceError(f"{path}#{key}: the file has no array of that name, found {listed}")
    return names[0] if key is None else key
