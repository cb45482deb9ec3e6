"""The file format of activation stores: one HDF5 file of paired activations, the same for every source.

With N samples:

    input           N x n_p     the representation x_p
    target          N x n_r     the representation x_r of the same samples; optional
    site2, site3... N x width   further representations of the same samples; optional
    labels          N           class index of each sample, -1 for no class; optional
    class_names     C           UTF-8 names of the classes; optional
    references/*    N           origin of each sample, one dataset per column (document, position, path, ...)
    features/{data,indices,indptr}, attribute shape
                                ground-truth coefficients as a CSR matrix (N x n); optional

The attributes are `format`, `version`, `provenance` (JSON: configuration, seed, ...) and `checksum`, a SHA-256 of all
datasets. Sites (input, target, site2, ...) are float16, float32, or bfloat16, which is stored as uint16 with the
attribute `dtype`. Rows are chunked, so reading whole chunks in random order is fast, and reading single random rows is
slow. HDF5 verifies each chunk by its Fletcher-32 checksum when it is read, and its own tables by theirs.

An index of shards contains no columns. `shards/file` lists the files of the shards, relative to the index, and
`shards/checksum` the checksum of each.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count, takewhile
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from sdlcore.data.pairs import site_column
from sdlcore.errors import SourceError, StoreError

FORMAT = "sdlcore activation store"
VERSION = 3
CHUNK_BYTES = 2**20
CHUNK_ROWS = 1024


def encode(values: np.ndarray, dtype: str) -> np.ndarray:
    """Convert numbers to the stored ``dtype``; bfloat16 is the uint16 of its bits, rounded to nearest even."""
    with np.errstate(over="ignore"):  # the writer refuses infinity
        numbers = np.ascontiguousarray(values, dtype=np.float32 if dtype == "bfloat16" else dtype)
    if dtype != "bfloat16":
        return numbers
    bits = numbers.view(np.uint32)
    stored = ((bits + (np.uint32(0x7FFF) + ((bits >> 16) & 1))) >> 16).astype(np.uint16)
    stored[np.isnan(numbers)] = 0x7FC0  # rounding may have overflowed the bits of a NaN
    return stored


def decode(stored: np.ndarray, dtype: str) -> np.ndarray:
    """Convert stored numbers back: bfloat16 to float32, other precisions unchanged."""
    if dtype != "bfloat16":
        return stored
    return (stored.astype(np.uint32) << 16).view(np.float32)


def check_values(name: str, values: np.ndarray, dtype: str, first: int) -> None:
    """Check that a store of a precision can hold rows of a site.

    Parameters
    ----------
    name
        File, array or column, for the message.
    values
        B x dimension numbers.
    dtype
        Precision of the store.
    first
        Number of the first of the rows, for the message.

    Raises
    ------
    StoreError
        If a row contains NaN or infinity, or numbers that overflow; or if it is not zero and becomes zero, as numbers
        below 3e-8 do in float16. The message names the row.
    """
    read = decode(encode(values, dtype), dtype)
    finite, lost = np.isfinite(read).all(axis=1), ~(read != 0).any(axis=1)
    lost[lost] = (values[lost] != 0).any(axis=1)
    if finite.all() and not lost.any():
        return
    row = int(np.argmax(~finite | lost))
    largest = float(np.abs(values[row].astype(np.float64)).max())
    remedy = "multiply it by a constant" if dtype == "float32" else "set dtype float32, or multiply it by a constant"
    if not np.isfinite(largest):
        problem, remedy = "contains NaN or infinity", "leave such rows out"
    elif lost[row]:
        problem = f"has a largest magnitude of {largest:.3g}, which is zero in {dtype}"
    else:
        problem = f"contains {largest:.3g}, too large for {dtype}"
    raise StoreError(f"{name}: row {first + row} {problem}; {remedy}")


def dtype_of(dataset: h5py.Dataset) -> str:
    """Return the precision of a column; ``bfloat16`` if an attribute marks it so, though it is stored as uint16."""
    return "text" if dataset.dtype.kind == "S" else str(dataset.attrs.get("dtype", dataset.dtype.name))


def chunk_rows(row_bytes: int) -> int:
    """Return the number of rows in a chunk: 1 MiB or less, and at most 1024 rows."""
    return max(1, min(CHUNK_ROWS, CHUNK_BYTES // max(8, row_bytes)))


def site_names(file: h5py.File) -> list[str]:
    """Return the names of the columns of sites: input, target, site2, and so on, up to the first that is missing."""
    return list(takewhile(file.__contains__, map(site_column, count())))


def column_names(file: h5py.File) -> list[str]:
    """Return the names of the columns with a row for each sample."""
    names = site_names(file) + (["labels"] if "labels" in file else [])
    return names + [f"references/{name}" for name in file.get("references", {})]


def read_stored(dataset: h5py.Dataset, start: int = 0, stop: int | None = None) -> np.ndarray:
    """Return rows without conversion, except for strings, which become Python strings."""
    return (dataset.asstr() if h5py.check_string_dtype(dataset.dtype) else dataset)[start:stop]


@contextmanager
def hdf5_errors(path: str | Path) -> Iterator[None]:
    """Turn any error of HDF5 in the block into a `StoreError` that names the file."""
    try:
        yield
    except (StoreError, SourceError):
        raise
    except Exception as error:  # h5py raises many kinds for damaged tables
        raise StoreError(f"{path}: is damaged or not an activation store ({error}); write it again") from error


class Checksum:
    """SHA-256 of the datasets of a store. It does not depend on the blocks in which rows were appended."""

    def __init__(self) -> None:
        self._columns: dict[str, Any] = {}

    def update(self, name: str, values: np.ndarray) -> None:
        """Add rows of a dataset, in their stored form."""
        if name not in self._columns:
            self._columns[name] = hashlib.sha256(f"{name} {values.dtype} {values.shape[1:]}".encode())
        self._columns[name].update(np.ascontiguousarray(values) if values.dtype.kind != "O" else _bytes_of(values))

    def hexdigest(self) -> str:
        """Return the checksum of all datasets."""
        digests = [column.hexdigest() for _, column in sorted(self._columns.items())]
        return hashlib.sha256("".join(digests).encode()).hexdigest()


def _bytes_of(texts: np.ndarray) -> bytes:
    encoded = [str(text).encode() for text in texts]
    return b"".join(len(text).to_bytes(8, "little") + text for text in encoded)
