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
    checksums/*     B x 32      SHA-256 of every 1024 rows of each of these columns

The attributes are `format`, `version`, `provenance` (JSON: configuration, seed, ...) and `checksum`, over all columns.
Sites (input, target, site2, ...) are float16, float32, or bfloat16, which is stored as uint16 with the attribute
`dtype`. Rows are chunked, so reading whole chunks in random order is fast, and reading single random rows is slow.

An index of shards contains the same columns as virtual datasets. `shards/file` lists the files that they read from,
relative to the index; `shards/rows` and `shards/checksum` list the rows and checksum of each file.
"""

import hashlib
from collections.abc import Iterator, Sequence
from itertools import count, takewhile
from typing import Any, get_args

import h5py
import numpy as np

from sdlcore.data.pairs import site_column
from sdlcore.errors import StoreError
from sdlcore.settings import StoredPrecision

FORMAT = "sdlcore activation store"
VERSION = 2
DTYPES = get_args(StoredPrecision)
CHUNK_BYTES = 2**20
CHUNK_ROWS = 1024
# rows of a checksum; a fixed number, so that checksums do not depend on where appends and commits ended
CHECKSUM_ROWS = 1024
# exceptions that h5py raises for files with damaged tables
DAMAGE = (
    OSError,
    RuntimeError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    ArithmeticError,
    MemoryError,
    NotImplementedError,
)


def check_dtype(dtype: Any) -> str:
    """Return the name of a storage precision; StoreError if activations cannot be stored in it."""
    try:
        name = "bfloat16" if str(dtype) == "bfloat16" else np.dtype(dtype).name
    except TypeError:
        name = repr(dtype)
    if name not in DTYPES:
        raise StoreError(f"dtype {name}: activations are stored as {', '.join(DTYPES[:-1])} or {DTYPES[-1]}")
    return name


def encode(values: np.ndarray, dtype: str) -> np.ndarray:
    """Convert numbers to the stored ``dtype``; bfloat16 is the uint16 of its bits, rounded to nearest even."""
    if dtype != "bfloat16":
        with np.errstate(over="ignore"):  # the writer refuses infinity
            return np.asarray(values).astype(dtype)
    numbers = np.ascontiguousarray(values, dtype=np.float32)
    bits = numbers.view(np.uint32)
    stored = ((bits + (np.uint32(0x7FFF) + ((bits >> 16) & 1))) >> 16).astype(np.uint16)
    stored[np.isnan(numbers)] = 0x7FC0  # rounding may have overflowed the bits of a NaN
    return stored


def decode(stored: np.ndarray, dtype: str) -> np.ndarray:
    """Convert stored numbers back: bfloat16 to float32, other precisions unchanged."""
    if dtype != "bfloat16":
        return stored
    return (stored.astype(np.uint32) << 16).view(np.float32)


def vanishing_row(values: np.ndarray, stored: np.ndarray, dtype: str, first: int) -> str | None:
    """Describe the first row whose nonzero numbers all become zero in the store; None if there is no such row.

    For example, float16 rounds numbers below 3e-8 to zero. The text follows the name of the rows in a message.

    Parameters
    ----------
    values, stored
        B x dimension numbers, and the same numbers as they will be read from the store.
    dtype
        Precision of the store.
    first
        Number in the store of the first of the B rows, for the message.
    """
    lost = ~(stored != 0).any(axis=1)
    lost[lost] = (values[lost] != 0).any(axis=1)
    if not lost.any():
        return None
    row = int(np.argmax(lost))
    largest = float(np.abs(values[row].astype(np.float64)).max())
    remedy = "multiply it by a constant" if dtype == "float32" else "set dtype float32, or multiply it by a constant"
    return f"row {first + row} has a largest magnitude of {largest:.3g}, which is zero in {dtype}; {remedy}"


def dtype_of(dataset: h5py.Dataset) -> str:
    """Return the precision of a column; ``bfloat16`` if an attribute marks it so, though it is stored as uint16."""
    return str(dataset.attrs.get("dtype", dataset.dtype.name))


def chunk_rows(row_bytes: int) -> int:
    """Return the number of rows in a chunk: 1 MiB or less, and at most 1024 rows."""
    return max(1, min(CHUNK_ROWS, CHUNK_BYTES // max(8, row_bytes)))


def begin(file: h5py.File, class_names: Sequence[str] | None) -> None:
    """Write the attributes that mark a file as a store, and its class names."""
    file.attrs["format"] = FORMAT
    file.attrs["version"] = VERSION
    if class_names is not None:
        file.create_dataset("class_names", data=list(class_names), dtype=h5py.string_dtype())


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


class Checksum:
    """Running SHA-256 of every `CHECKSUM_ROWS` rows of one column.

    Attributes
    ----------
    rows
        Number of rows so far.
    whole
        Digests of the complete blocks.
    """

    def __init__(self) -> None:
        self.whole: list[bytes] = []
        self.rows = 0
        self._block = hashlib.sha256()

    def update(self, values: np.ndarray) -> None:
        """Add rows in their stored form."""
        start = 0
        while start < len(values):
            stop = min(len(values), start + CHECKSUM_ROWS - self.rows % CHECKSUM_ROWS)
            self._block.update(_bytes_of(values[start:stop]))
            self.rows += stop - start
            start = stop
            if self.rows % CHECKSUM_ROWS == 0:
                self.whole.append(self._block.digest())
                self._block = hashlib.sha256()

    def digests(self) -> np.ndarray:
        """Return the digests of all blocks, blocks x 32 bytes. The last block may be incomplete."""
        rest = [self._block.digest()] if self.rows % CHECKSUM_ROWS else []
        return np.frombuffer(b"".join([*self.whole, *rest]), dtype=np.uint8).reshape(-1, hashlib.sha256().digest_size)


def blocks_of(dataset: h5py.Dataset, stop: int) -> Iterator[tuple[int, bytes]]:
    """Yield the first row and the digest of each block of rows ``0:stop``."""
    for start in range(0, stop, CHECKSUM_ROWS):
        values = read_stored(dataset, start, min(start + CHECKSUM_ROWS, stop))
        yield start, hashlib.sha256(_bytes_of(values)).digest()


def signature(dataset: h5py.Dataset) -> str:
    """Return the type of a column and the shape of its rows, as text."""
    kind = "string" if h5py.check_string_dtype(dataset.dtype) else dtype_of(dataset)
    return f"{kind} {tuple(int(size) for size in dataset.shape[1:])}"


def checksum_of(file: h5py.File) -> str:
    """Return the hex SHA-256 of a store: of the digests of its columns' blocks, and of its class names."""
    total = hashlib.sha256()
    for name in sorted(checked_columns(file)):
        total.update(f"{name} {signature(file[name])} {len(file[name])}\n".encode())
        total.update(file[f"checksums/{name}"][:].tobytes())
    if "class_names" in file:
        total.update(_bytes_of(read_stored(file["class_names"])))
    if "features" in file:
        total.update(str([int(size) for size in file["features"].attrs["shape"]]).encode())
    return total.hexdigest()


def checked_columns(file: h5py.File) -> list[str]:
    """Return the names of all datasets with checksums."""
    return column_names(file) + [f"features/{part}" for part in file.get("features", {})]


def write_checksums(file: h5py.File, checksums: dict[str, Checksum]) -> None:
    """Write the digests of all columns, and the store's checksum."""
    for name, checksum in checksums.items():
        file.create_dataset(f"checksums/{name}", data=checksum.digests())
    file.attrs["checksum"] = checksum_of(file)


def _bytes_of(values: np.ndarray) -> Any:
    if values.dtype.kind not in "OU":
        return np.ascontiguousarray(values)
    texts = [str(value).encode() for value in values]
    return b"".join(len(text).to_bytes(8, "little") + text for text in texts)
