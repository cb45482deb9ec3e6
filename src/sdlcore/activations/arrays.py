"""Arrays in files of several formats, read by blocks of rows: .npy, .npz, HDF5 and safetensors.

Nothing in these files is executed: pickled objects are refused.
"""

import json
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.lib import format as npy

from sdlcore.activations.array_reference import FORMATS, parse_array
from sdlcore.activations.layout import decode
from sdlcore.activations.text import SourceError

# names that safetensors gives to types; bfloat16, which numpy lacks, is read as the bits
SAFETENSORS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "U8": "u1", "I8": "i1", "BOOL": "?"} | {
    f"{kind}{8 * size}": f"<{kind.lower()}{size}" for kind in "IU" for size in (2, 4, 8)
}

# what the readers of these formats raise at files that are damaged
UNREADABLE = (OSError, ValueError, EOFError, KeyError, TypeError, zipfile.BadZipFile, zlib.error)


class Array(NamedTuple):
    """An array in an open file."""

    name: str
    """As the configuration names it."""
    shape: tuple[int, ...]
    dtype: str
    kind: str
    """Of dtype, as numpy has it; f for bfloat16 too."""
    read: Callable[[int, int], np.ndarray]
    """Gives rows ``start:stop``. Fastest where every call begins where the last one ended."""


@contextmanager
def open_array(reference: str) -> Iterator[Array]:
    """Open the array that ``path`` or ``path#key`` names; what is larger than memory is not loaded.

    Raises
    ------
    SourceError
        If the file is not there, of no known format or damaged, or has no array of that name, or several and no name
        was given; the message lists those that it has.
    """
    path, key = parse_array(reference)
    suffix = Path(path).suffix
    if suffix not in FORMATS:
        raise SourceError(f"{path}: expected a file of type {', '.join(FORMATS)}")
    if not Path(path).is_file():
        raise SourceError(f"{path}: no such file")
    reader = {".npy": _npy, ".npz": _npz, ".safetensors": _safetensors}.get(suffix, _hdf5)
    with ExitStack() as stack:
        try:
            array = stack.enter_context(reader(path, key))
        except SourceError:
            raise
        except UNREADABLE as error:
            raise SourceError(f"{reference}: cannot be read as {suffix} ({error})") from error
        yield array._replace(name=reference)


@contextmanager
def _npy(path: str, key: str | None) -> Iterator[Array]:
    if key is not None:
        raise SourceError(f"{path}#{key}: an .npy file holds one array without a name; write {path}")
    values = np.load(path, mmap_mode="r", allow_pickle=False)
    yield Array(
        path, values.shape, values.dtype.name, values.dtype.kind, lambda start, stop: np.asarray(values[start:stop])
    )


@contextmanager
def _npz(path: str, key: str | None) -> Iterator[Array]:
    with zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
        member = _ZippedArray(archive, f"{_choose(path, key, names)}.npy")
        yield Array(path, member.shape, member.dtype.name, member.dtype.kind, member.read)
        member.close()


class _ZippedArray:
    """An array in an .npz file, compressed or not, read in the order of its rows."""

    def __init__(self, archive: zipfile.ZipFile, name: str) -> None:
        self._stream = archive.open(name)
        version = npy.read_magic(self._stream)
        read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
        if read_header is None:
            raise ValueError(f"version {version} of the npy format is not known")
        self.shape, by_columns, self.dtype = read_header(self._stream)
        if self.dtype.hasobject:
            raise ValueError("it holds pickled objects, which are not loaded")
        if by_columns and len(self.shape) > 1:
            raise ValueError("it lies column by column (Fortran order); save np.ascontiguousarray of it")
        self._row_bytes = int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize
        self._start = self._stream.tell()
        self._row = 0

    def read(self, start: int, stop: int) -> np.ndarray:
        stop = min(stop, self.shape[0])
        if start != self._row:
            self._stream.seek(self._start + start * self._row_bytes)
        content = self._stream.read((stop - start) * self._row_bytes)
        self._row = stop
        return np.frombuffer(content, self.dtype).reshape(stop - start, *self.shape[1:])

    def close(self) -> None:
        self._stream.close()


@contextmanager
def _hdf5(path: str, key: str | None) -> Iterator[Array]:
    with h5py.File(path, "r") as file:
        names: list[str] = []
        file.visititems(lambda name, found: names.append(name) if isinstance(found, h5py.Dataset) else None)
        if key is not None and isinstance(file.get(key), h5py.Dataset):  # by a link, perhaps
            names.append(key)
        dataset = file[_choose(path, key, names)]
        # stores of ours keep bfloat16 as its bits
        is_bits = dataset.dtype == np.uint16 and str(dataset.attrs.get("dtype")) == "bfloat16"
        dtype, kind = ("bfloat16", "f") if is_bits else (dataset.dtype.name, dataset.dtype.kind)
        yield Array(path, dataset.shape, dtype, kind, lambda start, stop: decode(dataset[start:stop], dtype))


@contextmanager
def _safetensors(path: str, key: str | None) -> Iterator[Array]:
    header, start = _safetensors_header(path)
    name = _choose(path, key, [name for name in header if name != "__metadata__"])
    kind, shape, (first, last) = (header[name][part] for part in ("dtype", "shape", "data_offsets"))
    if kind not in SAFETENSORS:
        raise SourceError(f"{path}#{name}: holds {kind}, which is not read here; convert it to F32 or BF16")
    values = np.memmap(path, SAFETENSORS[kind], "r", start + first, tuple(shape))
    if values.nbytes != last - first:
        raise ValueError(f"{name} should have {values.nbytes} bytes, but the header gives it {last - first}")
    dtype, letter = ("bfloat16", "f") if kind == "BF16" else (values.dtype.name, values.dtype.kind)
    yield Array(path, tuple(shape), dtype, letter, lambda start, stop: decode(np.asarray(values[start:stop]), dtype))


def _safetensors_header(path: str) -> tuple[dict[str, Any], int]:
    """Return the header of a safetensors file and where its data begin."""
    size = Path(path).stat().st_size
    with Path(path).open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > size - 8:
            raise ValueError("its header is cut off")
        header = json.loads(file.read(length))
    if not isinstance(header, dict):
        raise ValueError("its header is not an object")
    return header, 8 + length


def _choose(path: str, key: str | None, names: list[str]) -> str:
    """Return the name of the array that is meant."""
    listed = ", ".join(sorted(names)) if names else "none"
    if key is None and len(names) != 1:
        raise SourceError(f"{path}: holds several arrays or none, say which by {path}#KEY; it has {listed}")
    if key is not None and key not in names:
        raise SourceError(f"{path}#{key}: the file has no array of that name; it has {listed}")
    return names[0] if key is None else key
